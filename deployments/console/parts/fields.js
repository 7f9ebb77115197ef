// Labelled inputs.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';

export function Choice({ label, value, options, change }) {
  return html`<label class="field"
    ><span>${label}</span>
    <select value=${value} onChange=${(e) => change(e.target.value)}>
      ${options.map((option) => {
        const [key, title] = Array.isArray(option) ? option : [option, option];
        return html`<option value=${key} selected=${key === value}>${title}</option>`;
      })}
    </select>
  </label>`;
}

/** `change` is called as one types. */
export function Text({ label, value, change, type = 'text', ...more }) {
  return html`<label class="field"
    ><span>${label}</span>
    <input type=${type} value=${value} autocomplete="off" spellcheck="false" onInput=${(e) => change(e.target.value)} ...${more} />
  </label>`;
}

/** `change` is called by Enter, by leaving the field, and by a choice from the list. */
export function Settled({ label, value, change, options = [], ...more }) {
  const [typed, setTyped] = useState(value);
  const list = useRef(`list-${Math.random().toString(36).slice(2)}`);
  useEffect(() => setTyped(value), [value]);
  const settle = (text) => text.trim() && text.trim() !== value && change(text.trim());
  const input = (event) => {
    setTyped(event.target.value);
    if (event.inputType === 'insertReplacementText' || !event.inputType) settle(event.target.value);
  };
  return html`<label class="field"
    ><span>${label}</span>
    <input
      type="text"
      value=${typed}
      list=${options.length ? list.current : null}
      autocomplete="off"
      spellcheck="false"
      onInput=${input}
      onChange=${(e) => settle(e.target.value)}
      onKeyDown=${(e) => e.key === 'Enter' && settle(e.target.value)}
      ...${more}
    />
    ${options.length > 0 && html`<datalist id=${list.current}>${options.map((one) => html`<option value=${one} />`)}</datalist>`}
  </label>`;
}

export function Tick({ label, value, change }) {
  return html`<label class="tick"><input type="checkbox" checked=${value} onChange=${(e) => change(e.target.checked)} />${label}</label>`;
}

/** Buttons of which one is pressed. */
export function Tabs({ label, value, options, change }) {
  return html`<div class="tabs" role="group" aria-label=${label}>
    ${options.map(
      ([key, title]) =>
        html`<button type="button" aria-pressed=${String(key === value)} onClick=${() => change(key)}>${title}</button>`,
    )}
  </div>`;
}
