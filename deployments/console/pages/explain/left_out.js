// An item that is not in the list: at which step it was left out, and what would bring it in.
import { html } from '../../vendor/htm-preact.js';
import { link } from '../../lib/route.js';
import { placeOf } from '../../lib/why.js';
import { ordinal, score } from '../../lib/words.js';
import { PartList, Stacked } from '../../parts/contributions.js';

const STAGES = ['Catalogue', 'Availability', 'Seen items', 'Filter of the scenario', 'Ranking'];

export function LeftOut({ context, found }) {
  const { asked, stage, rule, says, todo, ranked, slate, known } = found;
  const reached = STAGES.indexOf(stage);
  const last = slate.items.at(-1);
  return html`<article class="sheet stack" aria-labelledby="left-out">
    <h2 id="left-out">${known?.title || asked.item} is not in the list of ${asked.user}</h2>
    <ol class="stages" aria-label="Steps of an answer">
      ${STAGES.map((name, n) => html`<li class=${n < reached ? 'passed' : n === reached ? 'here' : ''}>
        <span class="unseen">${n < reached ? 'passed: ' : n === reached ? 'left out here: ' : 'not reached: '}</span>${name}</li>`)}
    </ol>
    <p><strong>${says}</strong> <span class="quiet">Step: ${stage}, by <code>${rule}</code>.</span></p>
    <p>${todo.split('`').map((part, n) => (n % 2 ? html`<code>${part}</code>` : part))}
      ${stage === 'Filter of the scenario' && html` <a href=${link('scenarios', { name: asked.scenario })}>Look at ${asked.scenario}</a>`}
      ${stage === 'Seen items' && html` <a href=${link('people', { user: asked.user })}>Look at the history</a>`}</p>
    ${ranked &&
    html`<p>Its score is ${score(ranked.score)}${last ? html`, which would be about ${ordinal(placeOf(ranked.score, slate.items))}; the ${ordinal(last.rank)}, the last that was asked for, has ${score(last.score)}.` : '.'}</p>
      <${Stacked} contributions=${ranked.contributions} />
      <${PartList} contributions=${ranked.contributions} signals=${context.platform.signals} values=${ranked.signals} />`}
  </article>`;
}
