// Live recall against the floor that the shards hold.
import { html } from '../../vendor/htm-preact.js';
import { useFrame } from '../../lib/live.js';
import { count } from '../../lib/words.js';

export function Recall({ live }) {
  const frame = useFrame(live);
  const held = frame?.status.shards.flatMap(({ shard, replicas }) => replicas.filter((one) => one.recall).map((one) => ({ shard, ...one.recall, id: one.id }))) || [];
  return html`<section class="sheet stack" aria-labelledby="recall">
    <h2 id="recall">Live recall@10</h2>
    <p class="quiet">Shards answer some searches again, exactly, and raise <code>ef_search</code> where too little was found.</p>
    ${!frame && html`<p class="quiet">Waiting for the first measurement …</p>`}
    ${frame && !held.length && html`<p>Of the build: ${frame.status.recall_at_10 === null ? '–' : frame.status.recall_at_10.toFixed(4)}. No floor is held: <code>recall</code> of the shards in the config file sets one.</p>`}
    ${held.length > 0 && html`<div class="scrolls" role="region" tabindex="0" aria-label="Recall of each replica"><table>
      <thead><tr><th>Shard</th><th>Replica</th><th class="number">Floor</th><th class="number">At least</th><th class="number">Searches</th><th class="number">ef_search</th><th></th></tr></thead>
      <tbody>${held.map((one) => html`<tr><th scope="row">shard-${one.shard}</th><td>${one.id}</td><td class="number">${one.floor}</td>
        <td class="number">${one.lower === null || one.lower === undefined ? 'not measured yet' : one.lower.toFixed(4)}</td><td class="number">${count(one.searches)}</td><td class="number">${one.ef_search}</td>
        <td>${one.rebuild || one.exact ? html`<span class="chip bad">lost</span> ${one.why}` : one.lower !== null && one.lower >= one.floor ? html`<span class="chip good">held</span>` : html`<span class="chip">measuring</span>`}</td></tr>`)}</tbody>
    </table></div>`}
  </section>`;
}
