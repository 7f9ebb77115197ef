// Every replica that announces itself: what it holds, how busy it is. Hundreds of them stay fluid.
import { html, useMemo, useState } from '../../vendor/htm-preact.js';
import { bytes, count, milliseconds, percent, plural } from '../../lib/words.js';
import { Choice } from '../../parts/fields.js';
import { Empty } from '../../parts/notices.js';
import { Rows } from '../../parts/rows.js';

/** Of presence (what each holds) and of the measurements (how each fares), by id. */
export function replicasOf({ status, replicas }) {
  const all = new Map();
  for (const { shard, replicas: those } of status.shards) {
    for (const one of those) {
      const cursor = one.versions[status.index_version];
      all.set(one.id, { id: one.id, deployment: `shard-${shard}`, holds: `${count(one.items)} items`, at: cursor, recall: one.recall });
    }
  }
  for (const one of status.composers) {
    all.set(one.id, { id: one.id, deployment: 'Composer', holds: one.serving ? `serves ${one.serving}` : 'serves nothing yet' });
  }
  for (const one of replicas) all.set(one.id, { holds: '', ...all.get(one.id), ...one });
  return [...all.values()].sort((a, b) => a.deployment.localeCompare(b.deployment, undefined, { numeric: true }) || a.id.localeCompare(b.id));
}

export function Replicas({ frame }) {
  const [only, setOnly] = useState('');
  const all = useMemo(() => replicasOf(frame), [frame]);
  const names = [...new Set(all.map((one) => one.deployment))];
  const shown = only ? all.filter((one) => one.deployment === only) : all;
  return html`<section class="sheet flush stack" aria-labelledby="replicas">
    <div class="row ends titled">
      <h2 id="replicas">${plural(all.length, 'replica')}</h2>
      <${Choice} label="Deployment" value=${only} options=${[['', 'all'], ...names]} change=${setOnly} />
    </div>
    ${shown.length
      ? html`<${Rows} label="Replicas" all=${shown} each=${44} height=${396} line=${(one) => html`<${Replica} one=${one} />`} />`
      : html`<${Empty} title="No replica announces itself">They do so a second after they have loaded a version.<//>`}
  </section>`;
}

function Replica({ one }) {
  const busy = one.busy_ratio;
  return html`<div class="replica">
    <span><strong>${one.deployment}</strong> <span class="quiet">${one.id}</span></span>
    <span class="quiet">${one.holds}${one.recall && html` · ef ${one.recall.ef_search}`}</span>
    <span class="busy">
      ${busy === null || busy === undefined
        ? html`<span class="quiet">–</span>`
        : html`<span class="meter" aria-hidden="true"><span class="moves" style=${{ width: `${Math.round(busy * 100)}%` }}></span></span>
            <span class="number">${percent(busy, 0)} busy</span>`}
    </span>
    <span class="number quiet">${one.queue_age_seconds > 0.001 ? `waits ${milliseconds(one.queue_age_seconds * 1000)}` : ''}</span>
    <span class="number quiet">${one.memory_bytes ? bytes(one.memory_bytes) : ''}</span>
  </div>`;
}
