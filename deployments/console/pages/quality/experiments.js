// Experiments with what they say so far.
import { html } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { encoded } from '../../lib/api.js';
import { count, moment, sentence, signed } from '../../lib/words.js';
import { Empty, Failed } from '../../parts/notices.js';

const SHOWN = 8;

export function Experiments({ context }) {
  const { api } = context;
  const { answer, problem, again } = useAnswer(async (signal) => {
    const { experiments } = await api.get('/v1/admin/experiments', signal);
    return Promise.all(
      experiments.slice(0, SHOWN).map((one) =>
        api.get(`/v1/admin/experiments/${encoded(one.name)}`, signal).catch((wrong) => ({ ...one, wrong: wrong.message })),
      ),
    );
  }, []);
  return html`<section class="sheet stack" aria-labelledby="experiments">
    <h2 id="experiments">Experiments</h2>
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${!answer && !problem && html`<p class="quiet">Loading …</p>`}
    ${answer && !answer.length && html`<${Empty} title="No experiment yet"><code>recsys experiment start</code> begins one; its verdict stands here.<//>`}
    ${answer?.map((one) => html`<${Experiment} one=${one} />`)}
  </section>`;
}

function Experiment({ one }) {
  return html`<article class="stack experiment">
    <div class="row"><h3>${one.name}</h3><span class=${`chip ${one.ended_at ? '' : 'good'}`}>${one.ended_at ? 'ended' : 'running'}</span>
      <span class="quiet small">in ${one.scenario}, since ${moment(one.started_at)}${one.reason ? `; ${one.reason}` : ''}</span></div>
    ${one.wrong && html`<p class="quiet">${one.wrong}</p>`}
    ${(one.compared || []).map((side) => html`<p><strong>${side.variant}</strong>: <span class="chip accent">${sentence(side.verdict)}</span>
      ${side.difference && html` difference ${signed(side.difference.value, 4)}, 95 % within ${signed(side.difference.low, 4)} and ${signed(side.difference.high, 4)}`}</p>`)}
    ${one.variants && html`<p class="quiet small">${one.variants.map((side) => `${side.variant}: ${count(side.users)} people, ${count(side.answers)} answers`).join(' · ')}</p>`}
  </article>`;
}
