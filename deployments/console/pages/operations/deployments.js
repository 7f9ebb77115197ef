// Replicas of each deployment: how many there are, between which bounds, and whether the load decides.
import { html, useEffect, useState } from '../../vendor/htm-preact.js';
import { plural } from '../../lib/words.js';
import { Failed } from '../../parts/notices.js';

export function Deployments({ api, frame, steers }) {
  const [problem, setProblem] = useState(null);
  const [said, setSaid] = useState('');
  const [told, setTold] = useState(null);
  useEffect(() => setTold(null), [frame]);
  const all = told || frame.deployments;
  const change = async (path, body, words) => {
    setProblem(null);
    try {
      setTold((await api.post(path, body)).deployments);
      setSaid(words);
    } catch (wrong) {
      setProblem(wrong);
    }
  };
  if (!all) {
    return html`<section class="sheet stack"><h2>Deployments</h2>
      <p class="quiet">Bounds are not known here: ${frame.no_deployments || 'Serve does not say'}. The replicas below are those that announce themselves.</p>
    </section>`;
  }
  return html`<section class="sheet stack" aria-labelledby="deployments">
    <div class="row ends">
      <h2 id="deployments">Deployments</h2>
      <span class="row">
        <button type="button" class="small" disabled=${!steers} onClick=${() => change('/v1/admin/hold', { held: true }, 'All are held.')}>Hold all</button>
        <button type="button" class="small" disabled=${!steers} onClick=${() => change('/v1/admin/hold', { held: false }, 'The load decides again.')}>Release all</button>
      </span>
    </div>
    <p class="quiet small">The load decides between the bounds. Held means: as many as there are, whatever the load.</p>
    ${problem && html`<${Failed} problem=${problem} />`}
    <p class="unseen" role="status">${said}</p>
    <ul class="deployments">
      ${all.map((one) => html`<${Deployment} key=${one.deployment} one=${one} steers=${steers} change=${change} />`)}
    </ul>
  </section>`;
}

function Deployment({ one, steers, change }) {
  const [low, setLow] = useState(one.low);
  const [high, setHigh] = useState(one.high);
  useEffect(() => {
    setLow(one.low);
    setHigh(one.high);
  }, [one.low, one.high]);
  const name = one.deployment;
  const scale = (event) => {
    event.preventDefault();
    const body = { deployment: name, min_replicas: Number(low), max_replicas: Number(high) };
    change('/v1/admin/scale', body, `${name}: between ${low} and ${high}.`);
  };
  const moving = one.running !== one.target;
  return html`<li>
    <div class="row">
      <strong>${name}</strong>
      <span class=${`chip ${moving ? 'warn' : 'good'}`}>${moving ? `${one.running} of ${plural(one.target, 'replica')}` : plural(one.running, 'replica')}</span>
      ${one.held && html`<span class="chip accent">held</span>`}
    </div>
    <div class="pips" aria-hidden="true">
      ${Array.from({ length: Math.min(Math.max(one.running, one.target), 60) }, (_, n) => html`<i class=${n < one.running ? 'on' : ''}></i>`)}
    </div>
    <form class="row bounds" onSubmit=${scale}>
      <label>from <input type="number" min="1" max="1000" required value=${low} disabled=${!steers} aria-label=${`Fewest replicas of ${name}`} onInput=${(e) => setLow(e.target.value)} /></label>
      <label>to <input type="number" min="1" max="1000" required value=${high} disabled=${!steers} aria-label=${`Most replicas of ${name}`} onInput=${(e) => setHigh(e.target.value)} /></label>
      <button class="small" disabled=${!steers || (String(low) === String(one.low) && String(high) === String(one.high))} aria-label=${`Scale ${name}`}>Scale</button>
      <button type="button" class="small" disabled=${!steers} aria-label=${`${one.held ? 'Release' : 'Hold'} ${name}`}
        onClick=${() => change('/v1/admin/hold', { deployment: name, held: !one.held }, `${name}: ${one.held ? 'the load decides' : 'held'}.`)}>${one.held ? 'Release' : 'Hold'}</button>
    </form>
  </li>`;
}
