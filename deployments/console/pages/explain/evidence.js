// Which of a person's likes speak for an item: shared attributes, and the place it would have without them.
import { html } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { encoded } from '../../lib/api.js';
import { link } from '../../lib/route.js';
import { liked } from '../../lib/taste.js';
import { isWhole, placesWithout } from '../../lib/without.js';
import { ago, ordinal, plural } from '../../lib/words.js';
import { Failed } from '../../parts/notices.js';

const LOOKED_AT = 30;
const WEIGHED = 4; // likes that are left out one by one

const valuesOf = (item) =>
  Object.entries(item?.attributes || {}).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).filter((one) => typeof one === 'string').map((one) => `${name}: ${one}`),
  );

export function Evidence({ context, asked, shown }) {
  const { api, catalogue, platform } = context;
  const { answer, problem } = useAnswer(
    async (signal) => {
      const { history } = await api.get(`/v1/users/${encoded(asked.user)}?limit=200`, signal);
      const likes = liked(history, platform.event_types).slice(0, LOOKED_AT);
      await catalogue.fetch(likes.map((one) => one.item_id), signal);
      const own = new Set(valuesOf(catalogue.known(asked.item)));
      const named = new Set(shown.reasons.map((one) => one.item_id));
      const found = likes
        .map((one) => ({ ...one, named: named.has(one.item_id), shared: valuesOf(catalogue.known(one.item_id)).filter((value) => own.has(value)) }))
        .filter((one) => one.named || one.shared.length)
        .sort((a, b) => b.named - a.named || b.shared.length - a.shared.length);
      const place = placesWithout(api, platform, asked, history, signal);
      const [now, ...without] = await Promise.all([place(), ...found.slice(0, WEIGHED).map((one) => place(one.event_id))]);
      return { likes: found.map((one, n) => ({ ...one, without: without[n] })), now, whole: isWhole(history) };
    },
    [asked.user, asked.item],
  );
  if (problem) return html`<${Failed} problem=${problem} />`;
  if (!answer) return html`<p class="quiet">Looking at what this person liked …</p>`;
  const { likes, now, whole } = answer;
  return html`<section class="sheet stack" aria-labelledby="evidence">
    <h2 id="evidence">What speaks for it</h2>
    ${!likes.length && html`<p class="quiet">No like of this person shares an attribute with it: it is here for its text, or because many like it.</p>`}
    ${likes.length > 0 && html`<p class="quiet small">${plural(likes.length, 'like')} of this person with something in common, the closest first.${!whole && ' Places without one of them are of the newest 50 events alone.'}</p>
      <ul class="evidence">
        ${likes.slice(0, 8).map((one) => html`<li>
          <a href=${link('people', { item: one.item_id })}>${catalogue.title(one.item_id)}</a> <span class="quiet small">${ago(one.timestamp)}</span>
          ${one.named && html` <span class="chip accent">named in the reason</span>`}
          <span class="chips">${one.shared.slice(0, 5).map((value) => html`<span class="chip">${value}</span>`)}</span>
          ${one.without !== undefined && now !== null && html`<span class="small">${told(now, one.without)}</span>`}
        </li>`)}
      </ul>`}
  </section>`;
}

function told(now, without) {
  if (without === null) return 'Without this like it would not be in the list.';
  if (without === now) return 'Without this like it would be where it is.';
  return html`Without this like it would be <strong>${ordinal(without)}</strong> instead of ${ordinal(now)}.`;
}
