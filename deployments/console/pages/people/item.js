// One item: its text and attributes, its neighbours, where it was shown and what came of it.
import { html } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { encoded } from '../../lib/api.js';
import { imageOf } from '../../lib/catalogue.js';
import { link } from '../../lib/route.js';
import { ago, moment, score, value } from '../../lib/words.js';
import { Empty, Failed } from '../../parts/notices.js';
import { Shown } from './shown.js';

const LONG = 600;

export function Item({ context, id, choose }) {
  const { api, platform } = context;
  const { answer, problem, again } = useAnswer(
    async (signal) => {
      const item = await api.get(`/v1/items/${encoded(id)}`, signal);
      const ranked = await api.post('/v1/rank', { items: [id], explain: true, log: false }, signal);
      const similar = await api.get(`/v1/items/${encoded(id)}/similar?k=8&log=false`, signal).catch(() => ({ items: [] }));
      return { item, signals: ranked.items[0]?.signals || null, similar: similar.items };
    },
    id ? [id] : null,
  );
  if (!id) return html`<${Empty} title="Which item?">Choose one of the list, or name its id in the address.<//>`;
  if (problem) {
    return html`<div class="stack"><${Failed} problem=${problem} again=${again} />
      ${problem.status === 404 && html`<p>Is the id spelt as in the catalogue?</p>`}</div>`;
  }
  if (!answer) return html`<p class="quiet">Loading …</p>`;
  const { item, signals, similar } = answer;
  const image = imageOf(item);
  return html`<div class="stack">
    <article class="sheet stack" aria-labelledby="item">
      <div class="row ends"><h2 id="item">${item.title || item.item_id}</h2>
        <span class="row"><code>${item.item_id}</code>${item.hidden && html`<span class="chip warn">hidden</span>`}</span></div>
      ${image && html`<img class="picture" src=${image} alt="" />`}
      <p>${item.text.length > LONG ? `${item.text.slice(0, LONG)} …` : item.text || html`<span class="quiet">It has no text.</span>`}</p>
      <dl class="facts">
        ${Object.entries(item.attributes).map(([name, one]) => html`<div><dt>${name}</dt><dd>${value(one, platform.attributes[name])}</dd></div>`)}
        <div><dt>created</dt><dd>${item.created_at === null ? 'not known' : html`${moment(item.created_at)} (${ago(item.created_at)})`}</dd></div>
        ${item.available_from !== null && html`<div><dt>shown from</dt><dd>${moment(item.available_from)}</dd></div>`}
        ${item.available_until !== null && html`<div><dt>shown until</dt><dd>${moment(item.available_until)}</dd></div>`}
      </dl>
      ${signals && html`<${Standing} signals=${signals} />`}
      <p><a href=${link('try', { call: 'similar', item: id })}>Try what is similar</a> · <a href=${link('explain', { item: id })}>Explain it for somebody</a></p>
    </article>
    <${Shown} context=${context} id=${id} />
    <section class="sheet stack" aria-labelledby="neighbours">
      <h2 id="neighbours">Neighbours</h2>
      ${similar.length
        ? html`<ol class="neighbours">${similar.map((one) => html`<li><button type="button" class="plain" onClick=${() => choose(one.item_id)}>${one.title || one.item_id}</button> <span class="quiet number">${score(one.score)}</span></li>`)}</ol>`
        : html`<p class="quiet">None is found: the item is hidden, or alone.</p>`}
    </section>
  </div>`;
}

/** Where it stands among all: signals of the item alone, for nobody in particular. */
function Standing({ signals }) {
  const bars = [['popularity', 'Popularity', '1 for the most liked item'], ['trend', 'Liked of late', 'half at ten likes'], ['recency', 'Newness', '1 for one created now']];
  return html`<dl class="standing">
    ${bars.filter(([name]) => name in signals).map(([name, title, hint]) => html`<div title=${hint}><dt>${title}</dt>
      <dd><span class="meter" aria-hidden="true"><span style=${{ width: `${Math.max(0, Math.min(1, signals[name])) * 100}%` }}></span></span><span class="number">${signals[name].toFixed(2)}</span></dd></div>`)}
  </dl>`;
}
