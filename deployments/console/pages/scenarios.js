// Scenarios: how each kind of slate is made. Edited with a look at what would change, and with a way back.
import { html, useEffect, useState } from '../vendor/htm-preact.js';
import { useAnswer } from '../lib/asking.js';
import { link, note } from '../lib/route.js';
import { ago, moment } from '../lib/words.js';
import { Confirm } from '../parts/confirm.js';
import { Empty, Failed, Head } from '../parts/notices.js';
import { Editor } from './scenarios/editor.js';

export function Scenarios({ given, ...context }) {
  const { api, may, platform } = context;
  const [name, setName] = useState(given.name || 'home');
  const [undoing, setUndoing] = useState(false);
  const [said, setSaid] = useState('');
  const { answer, problem, again } = useAnswer((signal) => api.get('/v1/admin/scenarios?history=20', signal), may('admin') ? [] : null);
  useEffect(() => note('scenarios', { name }), [name]);
  const head = html`<${Head} title="Scenarios">
    A scenario says how one kind of list is made: where candidates come from, what orders them, which rules hold.
  <//>`;
  if (!may('admin')) {
    return html`${head}<div class="sheet stack">
      <p>Their settings are shown to keys with the scope <code>admin</code>. These are here:</p>
      <ul>${Object.entries(platform.scenarios).map(([one, call]) => html`<li><strong>${one}</strong> <span class="quiet">for ${call}</span> · <a href=${link('try', { call })}>try it</a></li>`)}</ul>
    </div>`;
  }
  if (problem) return html`${head}<${Failed} problem=${problem} again=${again} />`;
  if (!answer) return html`${head}<p class="quiet">Loading …</p>`;
  const names = Object.keys(answer.scenarios);
  const chosen = names.includes(name) ? name : names[0];
  const saved = (words) => {
    setSaid(words);
    return again();
  };
  return html`${head}
    ${answer.refused && html`<p class="note bad">The edits do not fit this composer’s config file, and it keeps what it had: ${answer.refused}</p>`}
    ${said && html`<p class="note good" role="status">${said}</p>`}
    <div class="scenarios">
      <nav class="sheet stack" aria-label="Scenarios">
        <ul class="pages">
          ${names.map((one) => html`<li><a href=${link('scenarios', { name: one })} aria-current=${one === chosen ? 'true' : null}
            onClick=${(e) => { e.preventDefault(); setName(one); setSaid(''); }}>${one}</a></li>`)}
        </ul>
      </nav>
      <${Editor} key=${`${chosen} ${answer.version}`} context=${context} name=${chosen} before=${answer.scenarios[chosen]} version=${answer.version} saved=${saved} />
    </div>
    <section class="sheet stack" aria-labelledby="edits">
      <div class="row ends">
        <h2 id="edits">Edits</h2>
        <button type="button" disabled=${!answer.history.length} onClick=${() => setUndoing(true)}>Undo the last edit</button>
      </div>
      ${answer.history.length
        ? html`<ol class="history">
            ${answer.history.map((one) => html`<li><strong>${one.changed.join(', ') || 'undone'}</strong> by ${one.author}, <span title=${moment(one.at)}>${ago(one.at)}</span>
              ${one.comment && html`<span class="quiet"> – ${one.comment}</span>`} <span class="chip">edit ${one.version}</span></li>`)}
          </ol>`
        : html`<${Empty} title="Nothing was edited">What stands in the config file is in force.<//>`}
    </section>
    ${undoing &&
    html`<${Confirm} title="Undo the last edit?" verb="Undo" close=${() => setUndoing(false)}
      act=${() => api.post('/v1/admin/scenarios/undo', {}).then(() => saved('The last edit is undone.'))}>
      What was in force before it holds again, within a second or two everywhere. The undoing is an edit of its own.
    <//>`}`;
}
