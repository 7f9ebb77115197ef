// An item that is in the list: its place, what its score is made of, and what speaks for it.
import { html } from '../../vendor/htm-preact.js';
import { link } from '../../lib/route.js';
import { risesNote } from '../../lib/why.js';
import { ordinal, score, sentence } from '../../lib/words.js';
import { Chips, Reasons } from '../../parts/card.js';
import { PartList, Stacked } from '../../parts/contributions.js';
import { Evidence } from './evidence.js';

export function Shown({ context, found }) {
  const { catalogue, platform } = context;
  const { shown, slate, asked } = found;
  const known = catalogue.known(asked.item);
  const around = slate.items.slice(Math.max(0, shown.rank - 3), shown.rank + 2);
  return html`<article class="sheet stack" aria-labelledby="shown">
      <h2 id="shown">${shown.title || shown.item_id} is ${ordinal(shown.rank)} of ${slate.items.length}</h2>
      <p class="quiet">For <a href=${link('people', { user: asked.user })}>${asked.user}</a> in ${asked.scenario}, found by the source “${sentence(shown.source)}”, with a score of ${score(shown.score)}.</p>
      <${Reasons} item=${shown} catalogue=${catalogue} />
      <${Chips} item=${known} attributes=${platform.attributes} most=${12} />
      <${Stacked} contributions=${shown.contributions} />
      <${PartList} contributions=${shown.contributions} signals=${platform.signals} values=${shown.signals} />
      <p class="quiet small">The parts add up to the score.</p>
    </article>
    <${Evidence} catalogue=${catalogue} shown=${shown} />
    <section class="sheet stack">
      <h2>Around it</h2>
      <ol class="around" start=${around[0].rank}>
        ${around.map((one) => html`<li class=${one.item_id === shown.item_id ? 'here' : ''}>
          <a href=${link('explain', { ...asked, item: one.item_id })}>${one.title || one.item_id}</a> <span class="quiet number">${score(one.score)}</span></li>`)}
      </ol>
      ${risesNote(around) && html`<p class="quiet small">${risesNote(around)}</p>`}
    </section>`;
}
