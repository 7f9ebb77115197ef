// Which of a person's likes speak for an item: what each adds, the place without it, and what they share.
import { html } from '../../vendor/htm-preact.js';
import { link } from '../../lib/route.js';
import { ordinal, plural, signed } from '../../lib/words.js';

export function Evidence({ catalogue, shown }) {
  const { evidence } = shown;
  if (!evidence) {
    return html`<p class="quiet">What speaks for an item is weighed for the first 20 of a list.</p>`;
  }
  const { likes, shared, without, exact } = evidence;
  return html`<section class="sheet stack" aria-labelledby="evidence">
    <h2 id="evidence">What speaks for it</h2>
    ${!likes.length && html`<p class="quiet">No like of this person adds to it: it is here because many like it, or because it is new.</p>`}
    ${likes.length > 0 && html`<ul class="evidence">
        ${likes.map((one) => html`<li>
          <a href=${link('people', { item: one.item_id })}>${one.title || one.item_id}</a>
          <span class="number quiet">${signed(one.adds)}</span>
          <span class="small">${told(shown.rank, one.rank_without)}</span>
        </li>`)}
      </ul>`}
    ${shared.length > 0 && html`<p class="chips">Shared: ${shared.slice(0, 8).map((one) => html`<span class="chip" title=${one.items.map((id) => catalogue.title(id)).join(', ')}>${one.attribute}: ${one.value} ${one.items.length}</span>`)}</p>`}
    <p>${without === null
      ? 'It would be there without any of what this person did.'
      : html`Without ${plural(without.length, 'item')} it would not be there: ${without.map((id, n) => html`${n > 0 && ', '}<strong>${catalogue.title(id)}</strong>`)}.${!exact && ' There may be fewer.'}`}</p>
  </section>`;
}

function told(now, without) {
  if (without === null) return 'Without this like it would not be in the list.';
  if (without === now) return 'Without this like it would be where it is.';
  return html`Without this like it would be <strong>${ordinal(without)}</strong> instead of ${ordinal(now)}.`;
}
