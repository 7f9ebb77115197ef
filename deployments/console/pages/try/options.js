// What one may say beside the question, and the question as a program.
import { html, useState } from '../../vendor/htm-preact.js';
import { Tabs, Text } from '../../parts/fields.js';
import { LANGUAGES, program } from './request.js';

function typed(text, type) {
  if (type === 'number') return Number(text);
  if (type === 'boolean') return text === 'true';
  if (type === 'keyword[]') return text.split(',').map((one) => one.trim()).filter(Boolean);
  return text;
}

export function ContextFields({ declared, value, change }) {
  const [texts, setTexts] = useState({});
  const names = Object.keys(declared);
  const put = (name, text) => {
    setTexts({ ...texts, [name]: text });
    const { [name]: _, ...others } = value;
    change(text.trim() === '' ? others : { ...others, [name]: typed(text, declared[name]) });
  };
  return html`<div class="stack">
    <h2>Context</h2>
    ${names.length
      ? names.map((name) => html`<${Text} label=${`${name} (${declared[name]})`} value=${texts[name] || ''} change=${(text) => put(name, text)} />`)
      : html`<p class="quiet small">
          None is declared. Under <code>args.context</code> of the config file name what a call may say of its moment, such as the device.
        </p>`}
  </div>`;
}

export function Program({ api, call, keyed }) {
  const [language, setLanguage] = useState('curl');
  const [copied, setCopied] = useState(false);
  const { page: _, ...body } = call.body || {};
  const text = program(language, api.base, call.body ? { ...call, body } : call, keyed);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return html`<details class="sheet">
    <summary>This call as a program</summary>
    <div class="stack">
      <div class="row ends">
        <${Tabs} label="Language" value=${language} options=${LANGUAGES} change=${setLanguage} />
        ${navigator.clipboard && html`<button type="button" class="small" onClick=${copy}>${copied ? 'Copied' : 'Copy'}</button>`}
      </div>
      <pre tabindex="0" aria-label="The call"><code>${text}</code></pre>
    </div>
  </details>`;
}
