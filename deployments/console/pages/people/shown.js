// Where an item was shown, and what came of it.
import { html } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { encoded, query } from '../../lib/api.js';
import { count, decimal, percent } from '../../lib/words.js';
import { Chart } from '../../parts/chart.js';
import { Failed } from '../../parts/notices.js';

const DAYS = 30;
const DAY_S = 86_400;

export function Shown({ context, id }) {
  const { api, may } = context;
  const since = Math.floor(Date.now() / 1000 / 3600) * 3600 - DAYS * DAY_S;
  const { answer, problem, again } = useAnswer(
    (signal) => api.get(`/v1/metrics/items/${encoded(id)}${query({ from: since })}`, signal),
    may('admin') ? [id] : null,
  );
  return html`<section class="sheet stack" aria-labelledby="was-shown">
    <h2 id="was-shown">Shown in the last ${DAYS} days</h2>
    ${!may('admin') && html`<p class="quiet">What came of answers is shown to keys with the scope <code>admin</code>.</p>`}
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${answer && !answer.days.length && html`<p class="quiet">It is in no answer of the log yet. Answers are in it some seconds after they were given.</p>`}
    ${answer?.days.length > 0 && html`<${Course} answer=${answer} />`}
  </section>`;
}

function Course({ answer }) {
  const { days, scenarios } = answer;
  const xs = days.map(({ day }) => Date.parse(day) / 1000);
  const series = [
    { label: 'shown', ys: days.map((one) => one.shown) },
    { label: 'clicked', ys: days.map((one) => one.clicks) },
    { label: 'bought', ys: days.map((one) => one.conversions) },
  ];
  return html`${days.length > 1 && html`<${Chart} title="By day" xs=${xs} series=${series} format=${decimal} dots />`}
    <div class="scrolls" role="region" tabindex="0" aria-label="By scenario"><table>
      <thead><tr><th>Scenario</th><th class="number">Shown</th><th class="number">Mean place</th><th class="number">Clicked</th><th class="number">of those shown</th><th class="number">Bought</th></tr></thead>
      <tbody>${scenarios.map((one) => html`<tr><th scope="row">${one.scenario}</th><td class="number">${count(one.shown)}</td>
        <td class="number">${decimal(one.position)}</td><td class="number">${count(one.clicks)}</td>
        <td class="number">${percent(one.shown ? one.clicks / one.shown : null)}</td><td class="number">${count(one.conversions)}</td></tr>`)}</tbody>
    </table></div>`;
}
