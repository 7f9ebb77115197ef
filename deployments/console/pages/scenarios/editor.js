// One scenario: the usual knobs, all settings as JSON, the preview, and the way to save it.
import { html, useState } from '../../vendor/htm-preact.js';
import { useAnswer, useRested } from '../../lib/asking.js';
import { patchOf } from '../../lib/patch.js';
import { Text } from '../../parts/fields.js';
import { Failed } from '../../parts/notices.js';
import { Knobs } from './knobs.js';
import { Preview } from './preview.js';

const pretty = (scenario) => JSON.stringify(scenario, null, 2);

function parsed(text) {
  try {
    const scenario = JSON.parse(text);
    return scenario && typeof scenario === 'object' && !Array.isArray(scenario)
      ? { scenario }
      : { wrong: 'A scenario is an object: { … }.' };
  } catch (error) {
    return { wrong: `This is no JSON yet: ${error.message}` };
  }
}

export function Editor({ context, name, before, version, saved }) {
  const { api, platform } = context;
  const [text, setText] = useState(() => pretty(before));
  const [comment, setComment] = useState('');
  const [asked, setAsked] = useState({ users: '', text: 'a good one', item: '' });
  const [problem, setProblem] = useState(null);
  const [saving, setSaving] = useState(false);
  const { scenario, wrong } = parsed(text);
  const patch = scenario ? patchOf(before, scenario) : {};
  const changed = Object.keys(patch).length > 0;
  const call = platform.scenarios[name] || 'home';

  const users = asked.users.split(',').map((one) => one.trim()).filter(Boolean);
  const body = { scenarios: changed ? { [name]: patch } : {}, scenario: name, users, k: 8 };
  if (call === 'search') body.text = asked.text || 'a';
  if (call === 'similar') body.item_id = asked.item;
  if (call === 'rank') body.items = asked.item.split(',').map((one) => one.trim()).filter(Boolean);
  const ready = !wrong && (call === 'home' || call === 'search' || asked.item.trim());
  const key = useRested(ready ? JSON.stringify(body) : null, 350);
  const preview = useAnswer((signal) => api.post('/v1/admin/scenarios/preview', JSON.parse(key), signal), key && [key]);
  const refused = changed && preview.problem?.status === 422 ? preview.problem : null;

  async function save(event) {
    event.preventDefault();
    setSaving(true);
    setProblem(null);
    try {
      await api.call('PATCH', '/v1/admin/scenarios', { scenarios: { [name]: patch }, comment, version, author: platform.open ? 'console' : '' });
      await saved(`${name} is saved. It holds here at once, and within a second or two everywhere.`);
    } catch (problem) {
      setProblem(problem);
      setSaving(false);
    }
  }

  return html`<div class="editing">
    <form class="sheet stack" onSubmit=${save}>
      <div class="row ends"><h2>${name}</h2><span class="quiet small">for the call ${call}</span></div>
      ${scenario && html`<${Knobs} scenario=${scenario} signals=${platform.signals} change=${(part) => setText(pretty({ ...scenario, ...part }))} />`}
      <details open=${Boolean(wrong) || null}>
        <summary>All settings as JSON</summary>
        <label class="field"><span>Settings of ${name}</span>
          <textarea rows="18" spellcheck="false" value=${text} aria-invalid=${wrong || refused ? 'true' : 'false'} aria-describedby="wrong"
            onInput=${(e) => setText(e.target.value)}></textarea></label>
      </details>
      <div id="wrong" role="status">
        ${wrong && html`<p class="note bad">${wrong}</p>`}
        ${refused && html`<${Failed} problem=${refused} />`}
      </div>
      ${changed && html`<div class="small"><span class="quiet">What changes:</span> <code>${JSON.stringify(patch)}</code></div>`}
      <${Text} label="Comment, for the history" value=${comment} change=${setComment} maxlength="1000" />
      ${problem && html`<${Failed} problem=${problem} />`}
      <div class="row">
        <button class="main" disabled=${!changed || Boolean(wrong) || Boolean(refused) || saving}>${saving ? 'Saving …' : 'Save'}</button>
        <button type="button" disabled=${!changed} onClick=${() => setText(pretty(before))}>Back to what is in force</button>
      </div>
    </form>
    <${Preview} call=${call} asked=${asked} ask=${setAsked} ready=${ready} changed=${changed} preview=${preview} refused=${refused} />
  </div>`;
}
