// Clicks and purchases of answers: by day as a course, by the rest as a table with intervals.
import { html, useState } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { query } from '../../lib/api.js';
import { wilson } from '../../lib/intervals.js';
import { count, decimal, percent } from '../../lib/words.js';
import { Chart } from '../../parts/chart.js';
import { Tabs } from '../../parts/fields.js';
import { Empty, Failed } from '../../parts/notices.js';

const DIMENSIONS = [['scenario', 'Scenario'], ['position', 'Place'], ['source', 'Source'], ['version', 'Version'], ['variant', 'Variant']];

export function Outcomes({ context, since }) {
  const { api } = context;
  const [by, setBy] = useState('scenario');
  const ask = (dimension) => (signal) => api.get(`/v1/metrics/outcomes${query({ from: since, by: dimension })}`, signal);
  const days = useAnswer(ask('day'), [since]);
  const groups = useAnswer(ask(by), [since, by]);
  if (days.problem) return html`<${Failed} problem=${days.problem} again=${days.again} />`;
  const total = days.answer?.total;
  if (total && !total.answers) {
    return html`<${Empty} title="No answers in this period">
      Answers are in the log some seconds after they were given. Send their <code>request_id</code> with the events that follow, and clicks are counted here.
    <//>`;
  }
  return html`<section class="stack" aria-label="Outcomes">
    ${total && html`<${Totals} total=${total} told=${days.answer} />`}
    ${days.answer?.groups.length > 1 && html`<${Course} groups=${days.answer.groups} />`}
    <div class="sheet flush stack">
      <div class="row ends titled"><h2>Outcomes</h2><${Tabs} label="By" value=${by} options=${DIMENSIONS} change=${setBy} /></div>
      ${groups.problem && html`<${Failed} problem=${groups.problem} again=${groups.again} />`}
      ${groups.answer && html`<${Groups} by=${by} groups=${groups.answer.groups} />`}
      <p class="quiet small foot-note">Lines are 95 % intervals by Wilson’s formula. Places of one answer hang together, so the true ones are a little wider.</p>
    </div>
  </section>`;
}

function Totals({ total, told }) {
  const figures = [
    ['Answers', count(total.answers)],
    ['Items clicked', percent(total.click_through, 2)],
    ['Answers with a click', percent(total.answer_click_through)],
    ['Answers with a purchase', percent(total.conversion)],
    ['Value an answer', decimal(total.value_per_answer)],
    ['Not in the log', count(told.lost_answers)],
  ];
  return html`<dl class="figures">${figures.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Course({ groups }) {
  const xs = groups.map(({ day }) => Date.parse(day) / 1000);
  const share = (name) => groups.map((one) => one[name]);
  const series = [
    { label: 'answers with a click', ys: share('answer_click_through') },
    { label: 'answers with a purchase', ys: share('conversion') },
  ];
  return html`<${Chart} title="By day (UTC)" xs=${xs} series=${series} format=${(v) => percent(v)} dots />`;
}

const named = (by, one) => (by === 'position' ? (one.position === 0 ? 'no items' : `place ${one.position}`) : one[by] || '–');

/** A share as a dot on its interval, all of a table on one scale. */
function Interval({ hits, n, top }) {
  const interval = wilson(hits, n);
  if (!interval) return html`<span class="quiet">–</span>`;
  const [low, high] = interval;
  const at = (share) => `${Math.min(100, (share / top) * 100)}%`;
  return html`<span class="interval" aria-hidden="true">
    <i style=${{ left: at(low), width: at(high - low) }}></i><b style=${{ left: at(hits / n) }}></b></span>
    <span class="number">${percent(hits / n)} <span class="quiet">${percent(low)}–${percent(high)}</span></span>`;
}

function Groups({ by, groups }) {
  if (!groups.length) return html`<${Empty} title="Nothing to compare">There is no answer in this period.<//>`;
  const places = by === 'position' || by === 'source';
  const hits = (one) => (places ? one.clicks : one.answers_with_click);
  const of = (one) => (places ? one.items : one.answers);
  const top = Math.max(0.01, ...groups.map((one) => wilson(hits(one), of(one))?.[1] || 0));
  return html`<div class="scrolls" role="region" tabindex="0" aria-label="Outcomes by group"><table>
    <thead><tr><th>${DIMENSIONS.find(([key]) => key === by)[1]}</th><th class="number">${places ? 'Items' : 'Answers'}</th><th>${places ? 'Clicked' : 'With a click'}</th>
      <th class="number">Bought</th><th class="number">Value</th></tr></thead>
    <tbody>${groups.map((one) => html`<tr><th scope="row">${named(by, one)}</th><td class="number">${count(of(one))}</td>
      <td><div class="with-interval"><${Interval} hits=${hits(one)} n=${of(one)} top=${top} /></div></td>
      <td class="number">${count(one.conversions)}</td><td class="number">${decimal(one.value)}</td></tr>`)}</tbody>
  </table></div>`;
}
