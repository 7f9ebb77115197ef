// Versions: which is served, which there are, promotion and the way back.
import { html, useState } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { count, moment } from '../../lib/words.js';
import { Confirm } from '../../parts/confirm.js';
import { Empty, Failed } from '../../parts/notices.js';

export function Versions({ api, frame, steers }) {
  const [asking, setAsking] = useState(null);
  const { answer, problem, again } = useAnswer(
    (signal) => api.get('/v1/admin/versions', signal),
    steers ? [frame.status.promoted_version, frame.status.index_version, frame.status.last_rebuild?.version] : null,
  );
  const all = answer?.versions || [];
  const earlier = all.find((one) => one.earlier);
  const { index_version: now, promoted_version: next } = frame.status;
  return html`<section class="sheet stack" aria-labelledby="versions">
    <div class="row ends">
      <h2 id="versions">Versions</h2>
      <button type="button" class="small" disabled=${!steers || !earlier} onClick=${() => setAsking({ back: true, version: earlier.version })}>Roll back</button>
    </div>
    <p>Served: <strong>${now}</strong>${next && next !== now && html` <span class="chip warn">on its way: ${next}</span>`}</p>
    ${!steers && html`<p class="quiet small">The list of versions, promotion and rollback need a key with the scope <code>admin</code>.</p>`}
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${answer && !all.length && html`<${Empty} title="No version">Build one with <code>recsys build FILE --promote</code>.<//>`}
    ${all.length > 0 &&
    html`<div class="scrolls" role="region" aria-label="Versions" tabindex="0"><table>
      <thead><tr><th>Version</th><th>Built</th><th class="number">Items</th><th>Model</th><th class="number">recall@10</th><th class="number">NDCG@10</th><th></th></tr></thead>
      <tbody>
        ${all.map(
          (one) => html`<tr key=${one.version}>
            <th scope="row">${one.version} ${one.served && html`<span class="chip good">served</span>`}${one.earlier && html`<span class="chip">before</span>`}</th>
            <td class="when">${moment(one.created_at)}</td>
            <td class="number">${count(one.items)}</td>
            <td>${one.model}</td>
            <td class="number">${one.recall_at_10 === null ? '–' : one.recall_at_10.toFixed(4)}</td>
            <td class="number">${one.card?.comparison ? one.card.comparison.candidate.toFixed(4) : '–'}</td>
            <td>${!one.served && html`<button type="button" class="small" disabled=${!steers} aria-label=${`Promote ${one.version}`} onClick=${() => setAsking({ version: one.version })}>Promote</button>`}</td>
          </tr>`,
        )}
      </tbody>
    </table></div>`}
    ${asking &&
    html`<${Confirm} title=${asking.back ? `Roll back to ${asking.version}?` : `Promote ${asking.version}?`}
      verb=${asking.back ? 'Roll back' : 'Promote'} close=${() => setAsking(null)}
      act=${() => (asking.back ? api.post('/v1/admin/rollback') : api.post('/v1/admin/promote', { version: asking.version })).then(again)}>
      Its files are checked first. Shards load it beside ${now}, then composers switch. No call fails meanwhile.
      ${asking.back && html` The way forward is to promote ${now} again.`}
    <//>`}
  </section>`;
}
