// Versions side by side, by what each build and each training measured.
import { html } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { count, moment, signed } from '../../lib/words.js';
import { Empty, Failed } from '../../parts/notices.js';

const measure = (one) => (one === undefined || one === null ? '–' : one.toFixed(4));

export function Compared({ context }) {
  const { api } = context;
  const { answer, problem, again } = useAnswer((signal) => api.get('/v1/admin/versions', signal), []);
  if (problem) return html`<${Failed} problem=${problem} again=${again} />`;
  if (!answer) return null;
  const names = [...new Set(answer.versions.flatMap((one) => Object.keys(one.card?.validation || {})))];
  return html`<section class="sheet flush stack" aria-labelledby="compared">
    <div class="titled"><h2 id="compared">Versions side by side</h2></div>
    ${answer.versions.length
      ? html`<div class="scrolls" role="region" tabindex="0" aria-label="Versions side by side"><table>
          <thead><tr><th>Version</th><th>Built</th><th class="number">Items</th><th>Engine</th><th class="number">recall@10</th>
            ${names.map((name) => html`<th class="number">NDCG@10, ${name}</th>`)}<th>Against the one before</th></tr></thead>
          <tbody>${answer.versions.map((one) => html`<tr><th scope="row">${one.version} ${one.served && html`<span class="chip good">served</span>`}</th>
            <td class="when">${moment(one.created_at)}</td><td class="number">${count(one.items)}</td><td>${one.engine}</td><td class="number">${measure(one.recall_at_10)}</td>
            ${names.map((name) => html`<td class="number">${measure(one.card?.validation[name])}</td>`)}
            <td>${one.card?.comparison ? html`${measure(one.card.comparison.candidate)} against ${measure(one.card.comparison.served)}
              <span class="quiet">${signed(one.card.comparison.low, 4)} to ${signed(one.card.comparison.high, 4)}</span>` : html`<span class="quiet">not compared</span>`}</td></tr>`)}</tbody>
        </table></div>`
      : html`<${Empty} title="No version">Build one with <code>recsys build FILE --promote</code>.<//>`}
    ${answer.versions.length > 0 && !names.length && html`<p class="quiet small foot-note">None of them has learned. <code>recsys train</code> makes a version that has, and says how good it is.</p>`}
  </section>`;
}
