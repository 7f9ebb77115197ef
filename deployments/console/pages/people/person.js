// Somebody: the history, and what follows from it in words.
import { html, useEffect, useState } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { encoded } from '../../lib/api.js';
import { link } from '../../lib/route.js';
import { common, disliked, liked } from '../../lib/taste.js';
import { ago, moment, plural, value } from '../../lib/words.js';
import { Confirm } from '../../parts/confirm.js';
import { Settled } from '../../parts/fields.js';
import { Empty, Failed } from '../../parts/notices.js';
import { Rows } from '../../parts/rows.js';

const KNOWN = 300;

export function Person({ context, user, choose }) {
  const { api, catalogue, platform, may } = context;
  const [people, setPeople] = useState([]);
  const [forgetting, setForgetting] = useState(null);
  useEffect(() => {
    if (may('admin')) api.get('/v1/admin/users?limit=50').then(({ users }) => setPeople(users), () => {});
  }, []);
  const { answer, problem, again } = useAnswer(
    async (signal) => {
      const told = await api.get(`/v1/users/${encoded(user)}?limit=1000`, signal);
      await catalogue.fetch(told.history.slice(0, KNOWN).map((one) => one.item_id), signal);
      return told;
    },
    user ? [user] : null,
  );
  return html`<div class="sheet stack">
      <div class="asked people">
        <${Settled} label="User id" value=${user} options=${people} change=${choose} maxlength="128" />
        ${user && html`<a href=${link('try', { user })}>Try it as ${user}</a>`}
      </div>
      ${people.length > 0 && html`<div class="row"><span class="quiet small">Lately:</span>
        ${people.slice(0, 12).map((one) => html`<button type="button" class="small" aria-pressed=${String(one === user)} onClick=${() => choose(one)}>${one}</button>`)}</div>`}
    </div>
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${!user && html`<${Empty} title="Whom?">Name a user id above. Somebody who was never heard of has no history, and is answered all the same.<//>`}
    ${user && answer && !problem &&
    html`<${Words} answer=${answer} catalogue=${catalogue} platform=${platform} />
      <section class="sheet flush stack" aria-labelledby="history">
        <div class="titled"><h2 id="history">${plural(answer.events, 'event')}</h2></div>
        ${answer.history.length
          ? html`<${Rows} label="History" all=${answer.history} each=${40} height=${400} line=${(one) => html`<${Event} one=${one} catalogue=${catalogue} may=${may} forget=${setForgetting} />`} />`
          : html`<${Empty} title="No events">${user} was never heard of, or was erased. <a href=${link('try', { user })}>Like something</a> as ${user}.<//>`}
      </section>`}
    ${forgetting &&
    html`<${Confirm} title="Delete this event?" verb="Delete" close=${() => setForgetting(null)}
      act=${() => api.call('DELETE', `/v1/users/${encoded(user)}/events/${encoded(forgetting.event_id)}`).then(again)}>
      ${forgetting.type} of ${catalogue.title(forgetting.item_id)}, ${moment(forgetting.timestamp)}. What it added to the item is taken back. It does not come back.
    <//>`}`;
}

function Event({ one, catalogue, may, forget }) {
  return html`<div class="event">
    <span class="chip">${one.type}${one.value !== null && one.value !== undefined ? ` ${one.value}` : ''}</span>
    <a href=${link('people', { item: one.item_id })}>${catalogue.title(one.item_id)}</a>
    <span class="quiet" title=${moment(one.timestamp)}>${ago(one.timestamp)}</span>
    ${may('write') && html`<button type="button" class="small plain" aria-label=${`Delete the ${one.type} of ${catalogue.title(one.item_id)}`} onClick=${() => forget(one)}>Delete</button>`}
  </div>`;
}

function Words({ answer, catalogue, platform }) {
  const { history, attributes, user_id: user } = answer;
  const likes = liked(history, platform.event_types);
  const against = disliked(history, platform.event_types);
  const taste = common(likes.slice(0, KNOWN).map((one) => catalogue.known(one.item_id)), platform.attributes).slice(0, 6);
  const away = common(against.map((one) => catalogue.known(one.item_id)), platform.attributes).slice(0, 3);
  const known = Object.entries(attributes);
  const title = (one) => html`<strong>${catalogue.title(one.item_id)}</strong>`;
  return html`<section class="sheet stack" aria-labelledby="taste">
    <h2 id="taste">${user} in words</h2>
    ${!likes.length && html`<p>Nothing is liked yet: ${user} gets what is popular, trending and new.</p>`}
    ${likes.length > 0 && html`<p>Likes ${plural(likes.length, 'item')}${taste.length > 0 && html`, most of all ${taste.map(([name, one, n], at) => html`${at > 0 && ', '}<span class="chip accent" title=${`${name}, in ${n} of them`}>${one} ${n}</span>`)}`}.
      Lately ${likes.slice(0, 3).map((one, at) => html`${at > 0 && ', '}${title(one)}`)}: what is near to these comes first.</p>`}
    ${against.length > 0 && html`<p>Does not like ${against.slice(0, 3).map((one, at) => html`${at > 0 && ', '}${title(one)}`)}${away.length > 0 && html` (${away.map(([, one]) => one).join(', ')})`}: what is nearly like the last three comes after all else.</p>`}
    ${known.length > 0 && html`<p>${known.map(([name, one]) => html`<span class="chip" title=${name}>${name}: ${value(one, platform.user_attributes[name])}</span> `)}</p>`}
    <p class="quiet small">A like counts half after some newer ones; of an item the newest word counts. Of at most ${answer.history_limit} events that are kept.</p>
  </section>`;
}
