// The last quarter of an hour as charts.
import { html, useMemo } from '../../vendor/htm-preact.js';
import { decimal, milliseconds, percent } from '../../lib/words.js';
import { Chart } from '../../parts/chart.js';

const QUEUES = { recommend: 'answers', events: 'events', texts: 'texts', search: 'in shards', encode: 'in encoders' };

const MOST = 6;

/** One series for each name that occurs in the points under `part`; of many names those with the largest sums. */
function each(points, part, prefix, value, title = (name) => name) {
  const names = new Set(points.flatMap((point) => Object.keys(point[part]).filter((name) => name.startsWith(prefix))));
  const all = [...names].sort().map((name) => ({
    label: title(name.slice(prefix.length)),
    ys: points.map((point) => (name in point[part] ? value(point[part][name]) : null)),
  }));
  if (all.length <= MOST) return all;
  const sum = ({ ys }) => ys.reduce((whole, y) => whole + (y || 0), 0);
  return all.sort((a, b) => sum(b) - sum(a)).slice(0, MOST);
}

export function coursesOf(points) {
  const rate = (name) => points.map((point) => point.rates[name] || 0);
  const p99 = (one) => one.p99;
  const share = (yes, all) =>
    points.map(({ rates }) => {
      const whole = all.reduce((sum, name) => sum + (rates[name] || 0), 0);
      return whole ? (rates[yes] || 0) / whole : null;
    });
  const profiles = ['hit', 'rebuilt', 'stale', 'missing'].map((name) => `profiles_total|${name}`);
  return [
    ['Busy, share of the time', percent0, each(points, 'busy', '', (v) => v)],
    ['Requests a second', decimal, [
      { label: 'answers', ys: rate('slates_total') },
      { label: 'events', ys: rate('events_total|accepted') },
    ]],
    ['Waiting and work, 99 % within', milliseconds, each(points, 'times', 'answer_seconds|', p99, (name) => QUEUES[name] || name)],
    ['Stages of an answer, 99 % within', milliseconds, each(points, 'times', 'stage_seconds|', p99)],
    ['From cache', percent0, [
      { label: 'profiles', ys: share(profiles[0], profiles) },
      { label: 'texts', ys: share('texts_total|cached', ['texts_total|cached', 'texts_total|encoded']) },
    ]],
    ['Entries in the logs of items', decimal, each(points, 'gauges', 'log_entries', (v) => v, () => 'longest')],
    ['From a change to its search, 99 %', milliseconds, each(points, 'times', 'freshness_seconds', p99, () => 'changes')],
    ['Live recall@10', (v) => v.toFixed(3), each(points, 'gauges', 'recall_ratio|', (v) => v, (name) => `filter: ${name}`)],
  ].filter(([, , series]) => series.some(({ ys }) => ys.some((y) => y !== null)));
}

const percent0 = (share) => percent(share, 0);

export function Courses({ points }) {
  const courses = useMemo(() => coursesOf(points), [points]);
  const xs = useMemo(() => points.map(({ at }) => at), [points]);
  return html`<div class="columns">
    ${courses.map(([title, format, series]) => html`<${Chart} key=${title} title=${title} xs=${xs} series=${series} format=${format} />`)}
  </div>`;
}
