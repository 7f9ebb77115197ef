// The call that a wish stands for, as the API takes it, and the same in three languages.
import { encoded, query } from '../../lib/api.js';
import { filterOf } from '../../parts/filter.js';

export const CALLS = [
  ['home', 'For a person'],
  ['search', 'Search'],
  ['similar', 'Similar items'],
];

/**
 * null while something that the call needs is missing. `page`: `first`, or the token of a page. `by`: {version} or
 * {variant} that is to answer whoever asks, which has no pages; empty: what answers the person.
 */
export function requestOf(wish, scenario, hidden, attributes, page, by = {}) {
  const paged = Object.keys(by).length ? by : { page };
  const filter = filterOf(wish.conditions, attributes);
  if (wish.call === 'similar') {
    if (!wish.item) return null;
    const given = { k: wish.k, scenario, explain: true, ...paged, filter: filter && JSON.stringify(filter) };
    return { method: 'GET', path: `/v1/items/${encoded(wish.item)}/similar${query(given)}` };
  }
  const body = { k: wish.k, scenario, explain: true, ...paged };
  if (wish.user) body.user_id = wish.user;
  if (filter) body.filter = filter;
  if (hidden.length) body.exclude = hidden;
  if (wish.diversity !== '') body.diversity = Number(wish.diversity);
  if (Object.keys(wish.context).length) body.context = wish.context;
  if (wish.basket.length) body.events = wish.basket.map((item_id) => ({ item_id, type: wish.basketType }));
  if (wish.call === 'search') {
    if (!wish.text.trim()) return null;
    return { method: 'POST', path: '/v1/search', body: { ...body, text: wish.text } };
  }
  return { method: 'POST', path: '/v1/recommendations', body: { ...body, include_seen: wish.seen } };
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export const LANGUAGES = [
  ['curl', 'curl'],
  ['python', 'Python'],
  ['javascript', 'JavaScript'],
];

/** The call as a program, without the key itself. */
export function program(language, base, { method, path, body }, keyed) {
  const url = base + path.slice(1);
  const json = body && JSON.stringify(body, null, 2);
  if (language === 'curl') {
    const lines = [`curl -s ${method === 'GET' ? '' : `-X ${method} `}${quoted(url)}`];
    if (keyed) lines.push(`-H "Authorization: Bearer $RECSYS_KEY"`);
    if (json) lines.push(`-H 'content-type: application/json'`, `-d ${quoted(JSON.stringify(body))}`);
    return lines.join(' \\\n  ');
  }
  if (language === 'python') {
    const headers = keyed ? `, headers={"Authorization": f"Bearer {os.environ['RECSYS_KEY']}"}` : '';
    const given = body ? `, json=${pythonic(json)}` : '';
    return `${keyed ? 'import os\n' : ''}import httpx\n\nanswer = httpx.${method.toLowerCase()}("${url}"${given}${headers})\nprint(answer.json()["items"])`;
  }
  const headers = [keyed && "authorization: `Bearer ${key}`", json && "'content-type': 'application/json'"].filter(Boolean);
  const options = [
    method !== 'GET' && `  method: '${method}',`,
    headers.length && `  headers: { ${headers.join(', ')} },`,
    json && `  body: JSON.stringify(${json.replaceAll('\n', '\n  ')}),`,
  ].filter(Boolean);
  return `const answer = await fetch('${url}'${options.length ? `, {\n${options.join('\n')}\n}` : ''});\nconsole.log((await answer.json()).items);`;
}

/** JSON as Python writes it. Names and texts keep their quotes, so only bare words are replaced. */
function pythonic(json) {
  return json.replace(/"(?:[^"\\]|\\.)*"|\b(true|false|null)\b/g, (whole, word) =>
    word ? { true: 'True', false: 'False', null: 'None' }[word] : whole,
  );
}
