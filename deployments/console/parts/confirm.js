// Asks before something is done that others notice.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';
import { Failed } from './notices.js';

/** `act` does it, and may fail; the dialog closes when it is done. */
export function Confirm({ title, verb, act, close, children }) {
  const box = useRef(null);
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState(null);
  useEffect(() => box.current.showModal(), []);
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await act();
      box.current?.close();
    } catch (wrong) {
      setProblem(wrong);
      setBusy(false);
    }
  };
  return html`<dialog ref=${box} aria-labelledby="confirm-title" onClose=${close}>
    <form class="stack" onSubmit=${go}>
      <h2 id="confirm-title">${title}</h2>
      <div class="quiet">${children}</div>
      ${problem && html`<${Failed} problem=${problem} />`}
      <div class="row">
        <button class="main" disabled=${busy}>${busy ? 'At work …' : verb}</button>
        <button type="button" onClick=${() => box.current.close()}>Cancel</button>
      </div>
    </form>
  </dialog>`;
}
