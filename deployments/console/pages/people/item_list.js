// The catalogue as a list that goes on as one scrolls; or what fits some words.
import { html, useEffect, useRef, useState } from '../../vendor/htm-preact.js';
import { query } from '../../lib/api.js';
import { useRested } from '../../lib/asking.js';
import { Text } from '../../parts/fields.js';
import { Empty, Failed } from '../../parts/notices.js';
import { Rows } from '../../parts/rows.js';

const PAGE = 200;

export function ItemList({ context, chosen, choose }) {
  const { api, catalogue, platform } = context;
  const [words, setWords] = useState('');
  const rested = useRested(words, 200);
  const [items, setItems] = useState(null);
  const [problem, setProblem] = useState(null);
  const cursor = useRef({ next: null, busy: false, of: null });

  async function load(first) {
    const own = first ? { next: null, busy: false, of: rested } : cursor.current;
    if (first) cursor.current = own;
    if (own.busy || (!first && !own.next)) return;
    own.busy = true;
    try {
      const limit = Math.min(PAGE, platform.limits.bulk);
      const page = rested.trim()
        ? await api.post('/v1/search', { text: rested, k: Math.min(50, platform.limits.k), log: false })
        : await api.get(`/v1/items${query({ limit, cursor: own.next })}`);
      if (cursor.current !== own) return;
      if (!rested.trim()) catalogue.keep(page.items);
      own.next = page.next_cursor || null;
      setItems((before) => (first ? page.items : [...before, ...page.items]));
      setProblem(null);
    } catch (wrong) {
      setProblem(wrong);
    } finally {
      own.busy = false;
    }
  }
  useEffect(() => {
    load(true);
  }, [rested]);

  return html`<section class="sheet flush stack" aria-label="Items">
    <div class="titled"><${Text} label="Search by meaning" type="search" value=${words} change=${setWords} maxlength="500" /></div>
    ${problem && html`<${Failed} problem=${problem} again=${() => load(true)} />`}
    ${items && !items.length && !problem && html`<${Empty} title="No items">${words ? 'Nothing fits these words.' : html`Bring some with <code>recsys import items FILE</code>.`}<//>`}
    ${items?.length > 0 &&
    html`<${Rows} label="Items" all=${items} each=${40} height=${560} more=${() => load(false)}
      line=${(one) => html`<button type="button" class="item" aria-pressed=${String(one.item_id === chosen)} onClick=${() => choose(one.item_id)}>
        <span>${one.title || one.item_id}</span><span class="quiet">${one.hidden ? 'hidden' : one.item_id}</span></button>`} />`}
  </section>`;
}
