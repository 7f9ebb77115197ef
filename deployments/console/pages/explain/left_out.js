// An item that is not in the list: at which step it was left out, and what would bring it in.
import { html } from '../../vendor/htm-preact.js';
import { link } from '../../lib/route.js';
import { placeOf, STAGES, STEPS } from '../../lib/why.js';
import { ordinal, score, sentence } from '../../lib/words.js';
import { PartList, Stacked } from '../../parts/contributions.js';

export function LeftOut({ context, found }) {
  const { asked, told, ranked, slate, known } = found;
  const [step, says, todo] = STAGES[told.stage] || [STEPS.at(-1), sentence(told.stage || 'rank'), ''];
  const reached = STEPS.indexOf(step);
  const last = slate.items.at(-1);
  return html`<article class="sheet stack" aria-labelledby="left-out">
    <h2 id="left-out">${known?.title || asked.item} is not in the list of ${asked.user}</h2>
    <ol class="stages" aria-label="Steps of an answer">
      ${STEPS.map((name, n) => html`<li class=${n < reached ? 'passed' : n === reached ? 'here' : ''}>
        <span class="unseen">${n < reached ? 'passed: ' : n === reached ? 'left out here: ' : 'not reached: '}</span>${name}</li>`)}
    </ol>
    <p><strong>${says}</strong> <span class="quiet">By <code>${told.stage}</code>${told.rule && html`: <code>${told.rule}</code>`}.</span></p>
    ${told.change
      ? html`<p>With this change it would be there, which was tried: <code>${JSON.stringify(told.change)}</code></p>`
      : html`<p>${todo.split('`').map((part, n) => (n % 2 ? html`<code>${part}</code>` : part))}</p>`}
    <p>
      ${told.stage === 'seen' && html`<a href=${link('people', { user: asked.user })}>Look at the history</a>`}
      ${told.stage !== 'seen' && reached > 1 && html`<a href=${link('scenarios', { name: asked.scenario })}>Look at the scenario ${asked.scenario}</a>`}
    </p>
    ${ranked &&
    html`<p>Its score is ${score(ranked.score)}${last ? html`, which would be about ${ordinal(placeOf(ranked.score, slate.items))}; the ${ordinal(last.rank)} has ${score(last.score)}.` : '.'}</p>
      <${Stacked} contributions=${ranked.contributions} />
      <${PartList} contributions=${ranked.contributions} signals=${context.platform.signals} values=${ranked.signals} />`}
  </article>`;
}
