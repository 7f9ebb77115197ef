// What a score is made of: stacked parts, and the list of them with their numbers.
import { html } from '../vendor/htm-preact.js';
import { signed } from '../lib/words.js';

const SHOWN = 5;

/** Parts by size, the largest first; those that are shown as 0.000 are left out. */
export const bySize = (contributions) =>
  Object.entries(contributions || {})
    .filter(([, part]) => Math.abs(part) >= 5e-4)
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));

export function named(part, signals) {
  if (part === 'trees') return 'what the trees add to the blend';
  if (part === 'trees:base') return 'what the trees add to any item';
  if (part.startsWith('trees:')) return `what the trees make of ${decodeURIComponent(part.slice(6))}`;
  if (part.startsWith('rule:')) return `the rule ${part.slice(5)}`;
  return signals[part] || part.replaceAll('_', ' ');
}

export function Stacked({ contributions }) {
  const parts = bySize(contributions);
  const whole = parts.reduce((sum, [, part]) => sum + Math.abs(part), 0) || 1;
  const told = parts.map(([name, part]) => `${name} ${signed(part)}`).join(', ');
  return html`<div class="parts" role="img" aria-label=${`Score of: ${told}`}>
    ${parts.map(
      ([name, part], n) =>
        html`<span class=${`s${Math.min(n, SHOWN) + 1} ${part < 0 ? 'against' : ''}`} title=${`${name} ${signed(part)}`}
          style=${{ width: `${(Math.abs(part) / whole) * 100}%` }}></span>`,
    )}
  </div>`;
}

export function PartList({ contributions, signals, values }) {
  return html`<div class="scrolls"><table>
    <thead><tr><th>Part</th>${values && html`<th class="number">Signal</th>`}<th class="number">Adds</th></tr></thead>
    <tbody>
      ${bySize(contributions).map(
        ([name, part], n) => html`<tr>
          <th scope="row"><i class=${`swatch s${Math.min(n, SHOWN) + 1}`}></i>${name}<span class="says">${named(name, signals)}</span></th>
          ${values && html`<td class="number">${name in values ? values[name].toFixed(3) : '–'}</td>`}
          <td class="number">${signed(part)}</td>
        </tr>`,
      )}
    </tbody>
  </table></div>`;
}
