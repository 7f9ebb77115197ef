// Asks for the API key. It is kept in memory alone.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';

export function KeyDialog({ problem, had, use, close }) {
  const box = useRef(null);
  const [key, setKey] = useState('');
  useEffect(() => box.current.showModal(), []);
  const submit = (event) => {
    event.preventDefault();
    use(key);
    setKey('');
  };
  return html`<dialog ref=${box} aria-labelledby="key-title" onClose=${close}>
    <form class="stack" onSubmit=${submit}>
      <h2 id="key-title">API key</h2>
      <p class="quiet">
        With the scope <code>read</code> one looks, with <code>write</code> one can like items, with <code>admin</code> one can
        steer. <code>recsys keys new</code> makes one. It stays in this page’s memory: closing or reloading the page forgets it.
      </p>
      ${problem && had && html`<p class="note bad" role="alert">${problem.message}</p>`}
      <label class="field"
        ><span>Key</span>
        <input type="password" autocomplete="off" required value=${key} onInput=${(e) => setKey(e.target.value)} />
      </label>
      <div class="row">
        <button class="main">Use this key</button>
        <button type="button" onClick=${() => box.current.close()}>Cancel</button>
      </div>
    </form>
  </dialog>`;
}
