// Numbers, moments and codes as people say them. Times are in the viewer's zone.

const REASONS = {
  matches_your_taste: 'Close to what this person likes',
  because_you_liked: 'Because of a like of',
  similar_to_item: 'Similar to',
  similar_to_query: 'Fits the words that were searched for',
  trending: 'Much liked of late',
  popular: 'Liked by many',
  recent: 'New in the catalogue',
  new: 'Hardly known yet, and given a chance',
  asked: 'Named by the request',
  promoted: 'Put here by a rule',
};

const NOTES = {
  fewer_than_k: 'Fewer items are left than were asked for, after the filter, what is hidden and what was seen.',
  filter_matches_nothing: 'No item matches the filter. Take a condition away.',
  excluded: 'All that the filter leaves is hidden here. Show it again.',
  everything_seen: 'This person has seen everything that is left. Turn on “with seen items”.',
  filled_by_fallback: 'The scenario had too few items; the last ones are of its fallback.',
  nothing_found: 'The scenario finds nothing. Are there items yet? `recsys import items FILE` brings some.',
  history_limit: 'The history of this person is full: items of the oldest events can come back.',
};

export const reason = (code) => REASONS[code] || sentence(code);
export const noteText = (code) => NOTES[code] || sentence(code);

export function sentence(code) {
  const words = String(code).replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

const plain = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });

export const count = (n) => (n === null || n === undefined ? '–' : whole.format(n));
export const decimal = (n) => (n === null || n === undefined ? '–' : plain.format(n));
export const signed = (n, digits = 3) => `${n < 0 ? '−' : '+'}${Math.abs(n).toFixed(digits)}`;
export const score = (n) => (n < 0 ? '−' : '') + Math.abs(n).toFixed(3);
export const percent = (share, digits = 1) =>
  share === null || share === undefined ? '–' : `${(share * 100).toFixed(digits)} %`;
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function ordinal(n) {
  const tail = n % 100 > 10 && n % 100 < 14 ? 'th' : { 1: 'st', 2: 'nd', 3: 'rd' }[n % 10] || 'th';
  return `${n}${tail}`;
}

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return '–';
  return ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${whole.format(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

export function bytes(n) {
  if (n === null || n === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const step = Math.min(Math.floor(Math.log2(Math.max(n, 1)) / 10), units.length - 1);
  return `${plain.format(n / 1024 ** step)} ${units[step]}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds < 1) return milliseconds(seconds * 1000);
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h`;
  if (seconds < 63_072_000) return `${Math.round(seconds / 86_400)} days`;
  return `${Math.round(seconds / 31_556_952)} years`;
}

const moments = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });

/** Of Unix seconds, or of RFC 3339. */
const dateOf = (at) => new Date(typeof at === 'number' ? at * 1000 : at);
export const moment = (at) => (at === null || at === undefined ? '–' : moments.format(dateOf(at)));
export const time = (at) => clock.format(dateOf(at));

export function ago(at) {
  if (at === null || at === undefined) return '–';
  const seconds = (Date.now() - dateOf(at)) / 1000;
  return seconds < 0 ? `in ${duration(-seconds)}` : `${duration(seconds)} ago`;
}

/** An attribute's value as text; datetimes are Unix seconds. */
export function value(given, type) {
  if (Array.isArray(given)) return given.join(', ');
  if (type === 'datetime') return moment(given);
  if (typeof given === 'boolean') return given ? 'yes' : 'no';
  return typeof given === 'number' ? String(given) : given;
}
