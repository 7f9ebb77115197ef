// What runs unattended: the last rebuild and the last retraining.
import { html } from '../../vendor/htm-preact.js';
import { ago, duration, moment, signed } from '../../lib/words.js';

export function Jobs({ status }) {
  return html`<section class="sheet stack" aria-labelledby="jobs">
    <h2 id="jobs">Unattended work</h2>
    <div class="columns">
      <${Job} title="Rebuild" run=${status.last_rebuild} none="None yet. rebuild.cron of the config file says when one is due." />
      <${Job} title="Retraining" run=${status.last_retraining} none="None yet. retrain.cron of the config file says when one is due." />
    </div>
  </section>`;
}

function Job({ title, run, none }) {
  if (!run) return html`<div><h3>${title}</h3><p class="quiet">${none}</p></div>`;
  const began = Number(run.started);
  const ended = run.finished ? Number(run.finished) : null;
  const compared = run.comparison;
  const state = ended === null ? ['warn', 'under way'] : run.error ? ['bad', 'failed'] : ['good', 'done'];
  return html`<div class="stack">
    <div class="row"><h3>${title}</h3><span class=${`chip ${state[0]}`}>${state[1]}</span></div>
    <p class="small">
      Began ${moment(began)} (${ago(began)})${ended !== null ? `, took ${duration(ended - began)}` : ''}.
      ${run.reason && ` Because: ${run.reason}.`} ${run.version && ` Version ${run.version}.`} ${run.result && ` ${run.result}.`}
    </p>
    ${ended === null && html`<progress aria-label=${`${title} under way`}></progress>`}
    ${run.error && html`<p class="note bad">${run.error}. The served version stays.</p>`}
    ${compared &&
    html`<p class="small">NDCG@10 ${compared.candidate.toFixed(4)} against ${compared.served.toFixed(4)} of ${compared.served_version}
      (${signed(compared.low, 4)} to ${signed(compared.high, 4)}, over ${compared.cases} people): ${compared.publish ? 'taken over' : 'not taken over'}.</p>`}
  </div>`;
}
