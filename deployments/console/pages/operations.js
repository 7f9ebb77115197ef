// Operations: how the platform fares, as it changes, and the knobs.
import { html } from '../vendor/htm-preact.js';
import { useFrame } from '../lib/live.js';
import { count, milliseconds, percent } from '../lib/words.js';
import { Head } from '../parts/notices.js';
import { Attention } from './operations/attention.js';
import { Courses } from './operations/courses.js';
import { Deployments } from './operations/deployments.js';
import { Jobs } from './operations/jobs.js';
import { Replicas } from './operations/replicas.js';
import { Versions } from './operations/versions.js';

export function Operations({ api, live, platform, may }) {
  const frame = useFrame(live);
  const steers = may('admin');
  return html`<${Head} title="Operations">
      Load, latency and freshness as they are measured. ${steers ? 'Changes hold at once.' : 'Read only: changes need a key with the scope admin.'}
    <//>
    ${!frame && html`<p class="quiet" role="status">Waiting for the first measurement …</p>`}
    ${frame &&
    html`<${Attention} frame=${frame} points=${live.points} />
      <${Figures} frame=${frame} points=${live.points} />
      <${Courses} points=${live.points} />
      <${Deployments} api=${api} frame=${frame} steers=${steers} />
      <${Replicas} frame=${frame} />
      <${Versions} api=${api} frame=${frame} steers=${steers} />
      <${Jobs} status=${frame.status} />
      <${Links} links=${platform.links} />`}`;
}

const RECENT = 30;

/** The newest measurement that there is in the last points: not each window has an answer. */
export function newest(points, of) {
  for (const point of points.slice(-RECENT).reverse()) {
    const value = of(point);
    if (value !== undefined && value !== null) return value;
  }
  return null;
}

function Figures({ frame, points }) {
  const { status } = frame;
  const point = points.at(-1);
  const rate = (name) => point?.rates[name] || 0;
  const answers = newest(points, (one) => one.times['answer_seconds|recommend']);
  const fresh = newest(points, (one) => one.times.freshness_seconds);
  const recalls = Object.entries(point?.gauges || {}).filter(([name]) => name.startsWith('recall_ratio'));
  const recall = recalls.length ? Math.min(...recalls.map(([, value]) => value)) : status.recall_at_10;
  const hit = rate('profiles_total|hit');
  const asked = ['hit', 'rebuilt', 'stale', 'missing'].reduce((sum, name) => sum + rate(`profiles_total|${name}`), 0);
  const figures = [
    ['Answers', `${count(rate('slates_total'))}`, '/s'],
    ['Answered within, half', answers ? milliseconds(answers.p50) : '–', ''],
    ['Answered within, 99 %', answers ? milliseconds(answers.p99) : '–', ''],
    ['Events', `${count(rate('events_total|accepted'))}`, '/s'],
    ['Items', count(status.items), ''],
    ['A change is found after', fresh ? milliseconds(fresh.p99) : '–', ''],
    ['recall@10', recall === null ? '–' : recall.toFixed(3), recalls.length ? 'live' : 'of the build'],
    ['Profiles from cache', asked ? percent(hit / asked, 0) : '–', ''],
    ['Memory', point ? `${(point.memory / 2 ** 30).toFixed(2)}` : '–', 'GiB'],
  ];
  return html`<dl class="figures">
    ${figures.map(([name, value, unit]) => html`<div><dt>${name}</dt><dd>${value} <small>${unit}</small></dd></div>`)}
  </dl>`;
}

function Links({ links }) {
  const named = { dashboard: ['Ray’s dashboard', 'replicas with their logs'], grafana: ['Grafana', 'metrics of any time'] };
  const known = Object.entries(links);
  return html`<section class="sheet stack">
    <h2>Elsewhere</h2>
    <p>
      ${known.map(([name, url]) => html`<a href=${url} rel="noreferrer">${named[name]?.[0] || name}</a> <span class="quiet">${named[name]?.[1]}</span> · `)}
      <a href="docs">The API’s reference</a>
    </p>
    ${!links.grafana && html`<p class="quiet small">Grafana’s address appears here when the platform is started with <code>RAY_GRAFANA_HOST</code>.</p>`}
  </section>`;
}
