// What is not as it should be, each with what to do about it.
import { html } from '../../vendor/htm-preact.js';
import { decimal, duration } from '../../lib/words.js';

const LAG_S = 5;

/** [[how bad, what, what to do], …]; `points`: the course, oldest first. */
export function concerns({ status, deployments }, points) {
  const found = [];
  const point = points.at(-1);
  const say = (how, what, todo) => found.push([how, what, todo]);
  for (const part of status.degraded) {
    say('bad', `${part} does not answer or is not as it should be.`, 'Answers go on without it. `recsys logs` says more.');
  }
  for (const one of status.rejected) {
    say('bad', `${one.by} cannot open version ${one.version}: ${one.reason}`, 'Roll back below, or build again.');
  }
  for (const [name, why] of Object.entries(status.refused_settings)) {
    say('bad', `${name} goes by the settings of before: ${why}`, 'Mend the config file, then `recsys apply`.');
  }
  for (const { shard, replicas } of status.shards) {
    if (!replicas.length) say('bad', `shard-${shard} has no replica.`, 'Its items are missing from answers until one is back.');
    const lost = replicas.find(({ recall }) => recall && (recall.exact || recall.rebuild));
    if (lost) say('warn', `shard-${shard} cannot hold its recall floor: ${lost.recall.why}`, 'A rebuild puts it right: `recsys build --from-live --promote`.');
  }
  if (status.promoted_version && status.promoted_version !== status.index_version) {
    say('warn', `Version ${status.promoted_version} is promoted and not served yet.`, 'Shards load it; this takes seconds to minutes.');
  }
  for (const one of deployments || []) {
    if (one.running < one.low) say('warn', `${one.deployment} has ${one.running} of at least ${one.low} replicas.`, 'They start now, or there is no room: Ray’s dashboard says which.');
  }
  const lag = point?.gauges.log_lag_seconds;
  if (lag > LAG_S) say('warn', `A replica is ${duration(lag)} behind its log.`, 'Changes of items are found late until it has caught up.');
  const rates = Object.entries(point?.rates || {});
  for (const [name, value] of rates.filter(([name, value]) => name.startsWith('refused_total') && value > 0)) {
    say('warn', `${decimal(value)} answers a second are refused: ${name.split('|')[1]}.`, 'Scale the busiest deployment below.');
  }
  for (const [name] of rates.filter(([name, value]) => name.startsWith('background_errors') && value > 0)) {
    say('warn', `A background task fails: ${name.split('|')[1]}.`, '`recsys logs` has the error.');
  }
  return found;
}

export function Attention({ frame, points }) {
  const found = concerns(frame, points);
  return html`<section aria-label="What needs attention" class="stack" role="status">
    ${!found.length && html`<p class="note good">All is well: every part answers, and nothing waits.</p>`}
    ${found.map(([how, what, todo]) => html`<p class=${`note ${how}`}><strong>${what}</strong> ${coded(todo)}</p>`)}
  </section>`;
}

/** Text with `commands` in it. */
function coded(text) {
  return text.split('`').map((part, n) => (n % 2 ? html`<code>${part}</code>` : part));
}
