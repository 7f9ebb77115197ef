// What is said where there is nothing to show: why, and what to do.
import { html } from '../vendor/htm-preact.js';

export function Failed({ problem, again }) {
  const scope = problem.status === 403;
  return html`<div class="note bad" role="alert">
    <p><strong>${scope ? 'This key may not do that.' : titled(problem)}</strong> ${problem.message}</p>
    ${problem.errors?.length > 1 &&
    html`<ul>
      ${problem.errors.map((one) => html`<li>${one.message}</li>`)}
    </ul>`}
    ${again && html`<p><button type="button" class="small" onClick=${again}>Try again</button></p>`}
  </div>`;
}

function titled(problem) {
  if (problem.status === 0) return 'No answer.';
  if (problem.status === 429) return 'Too many requests.';
  if (problem.status === 503) return 'A part is away.';
  return problem.field ? `${problem.field} is refused.` : 'That did not work.';
}

export function Empty({ title, children }) {
  return html`<div class="empty"><strong>${title}</strong><span>${children}</span></div>`;
}

export function Head({ title, children }) {
  return html`<header class="head"><h1 tabindex="-1">${title}</h1><p>${children}</p></header>`;
}
