// How much of the catalogue comes into answers, and how evenly.
import { html } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { query } from '../../lib/api.js';
import { count, percent } from '../../lib/words.js';
import { Failed } from '../../parts/notices.js';

export function CatalogueUse({ context, since }) {
  const { api } = context;
  const { answer, problem, again } = useAnswer((signal) => api.get(`/v1/metrics/catalogue${query({ from: since })}`, signal), [since]);
  if (problem) return html`<${Failed} problem=${problem} again=${again} />`;
  if (!answer?.places) return null;
  const figures = [
    ['Coverage', percent(answer.coverage), 'of the items were shown', `${count(answer.items_shown)} of ${count(answer.items)}`],
    ['Diversity', count(answer.effective_items), 'items, if all were shown alike', 'The exponential of the entropy of what was shown'],
    ['Popularity share', percent(answer.top_share), 'of the places, to a tenth of the items shown', 'The tenth that was shown most'],
    ['Novelty', percent(answer.new_to_user), 'of the places, new to the person', 'Not shown to the same person before in the period'],
  ];
  return html`<section class="stack" aria-labelledby="use"><h2 id="use">Use of the catalogue</h2>
    <dl class="figures wide">${figures.map(([name, value, unit, hint]) => html`<div title=${hint}><dt>${name}</dt><dd>${value} <small>${unit}</small></dd></div>`)}</dl>
  </section>`;
}
