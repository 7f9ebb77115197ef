// A filter built from the declared attributes, one condition a line; all of them have to hold.
import { html } from '../vendor/htm-preact.js';
import { Choice, Text } from './fields.js';

const KEYWORD = [
  ['eq', 'is'],
  ['any', 'is one of'],
  ['not', 'is not'],
  ['exists', 'is given'],
];
const NUMBER = [
  ['gte', 'at least'],
  ['lte', 'at most'],
  ['eq', 'is'],
  ['exists', 'is given'],
];
const OPERATORS = {
  keyword: KEYWORD,
  'keyword[]': [['eq', 'has'], ['any', 'has one of'], ['not', 'has not'], ['exists', 'is given']],
  number: NUMBER,
  datetime: NUMBER,
  date: NUMBER,
  boolean: [['eq', 'is'], ['exists', 'is given']],
};

export const operators = (type) => OPERATORS[type] || KEYWORD;

function typed(text, type) {
  if (type === 'number') return Number(text);
  if (type === 'boolean') return text === 'true';
  return text.trim();
}

/** The lines as the API has them; null where no line is complete. */
export function filterOf(lines, attributes) {
  const filter = { must: [], must_not: [] };
  for (const { key, test, text } of lines) {
    const type = attributes[key];
    if (!type || (test !== 'exists' && text.trim() === '')) continue;
    if (type === 'number' && test !== 'exists' && Number.isNaN(Number(text))) continue;
    if (test === 'exists') filter.must.push({ key, exists: true });
    else if (test === 'not') filter.must_not.push({ key, eq: typed(text, type) });
    else if (test === 'any') filter.must.push({ key, any: text.split(',').map((one) => typed(one, type)).filter(Boolean) });
    else filter.must.push({ key, [test]: typed(text, type) });
  }
  const used = Object.entries(filter).filter(([, conditions]) => conditions.length);
  return used.length ? Object.fromEntries(used) : null;
}

export function FilterLines({ attributes, lines, change }) {
  const names = Object.keys(attributes);
  if (!names.length) {
    return html`<p class="quiet small">No attributes are declared. Name them under <code>args.attributes</code> of the config file.</p>`;
  }
  const put = (at, part) => change(lines.map((line, n) => (n === at ? { ...line, ...part } : line)));
  const add = () => change([...lines, { key: names[0], test: operators(attributes[names[0]])[0][0], text: '' }]);
  return html`<div class="stack filter">
    ${lines.map(
      (line, n) => html`<div class="condition" role="group" aria-label=${`Condition ${n + 1}`}>
        <${Choice} label="Attribute" value=${line.key} options=${names}
          change=${(key) => put(n, { key, test: operators(attributes[key])[0][0], text: '' })} />
        <${Choice} label="Test" value=${line.test} options=${operators(attributes[line.key])} change=${(test) => put(n, { test })} />
        ${line.test !== 'exists' &&
        (attributes[line.key] === 'boolean'
          ? html`<${Choice} label="Value" value=${line.text} options=${[['', '…'], 'true', 'false']} change=${(text) => put(n, { text })} />`
          : html`<${Text} label=${line.test === 'any' ? 'Values, with commas' : 'Value'} value=${line.text} change=${(text) => put(n, { text })} />`)}
        <button type="button" class="small" aria-label=${`Remove condition ${n + 1}`} onClick=${() => change(lines.filter((_, m) => m !== n))}>✕</button>
      </div>`,
    )}
    <div><button type="button" class="small" onClick=${add}>Add a condition</button></div>
  </div>`;
}
