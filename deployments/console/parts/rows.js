// A long list of lines of one height, of which those in sight are drawn. `more` is called near its end.
import { html, useEffect, useRef, useState } from '../vendor/htm-preact.js';

const BEYOND = 6;

/** `line(one, at)` gives what stands in a line. Up to `height` pixels are shown at a time. */
export function Rows({ label, all, line, each = 40, height = 420, more = null }) {
  const box = useRef(null);
  const [top, setTop] = useState(0);
  const first = Math.max(0, Math.floor(top / each) - BEYOND);
  const last = Math.min(all.length, Math.ceil((top + height) / each) + BEYOND);
  useEffect(() => {
    if (more && last >= all.length - BEYOND) more();
  }, [last, all.length]);
  return html`<div class="rows" role="region" aria-label=${label} tabindex="0" ref=${box}
    style=${{ height: `${Math.min(height, all.length * each)}px` }} onScroll=${() => setTop(box.current.scrollTop)}>
    <ul class="spacer" style=${{ height: `${all.length * each}px` }}>
      ${all.slice(first, last).map(
        (one, n) => html`<li class="line" key=${first + n} aria-setsize=${all.length} aria-posinset=${first + n + 1}
          style=${{ top: `${(first + n) * each}px`, height: `${each}px` }}>${line(one, first + n)}</li>`,
      )}
    </ul>
  </div>`;
}
