// One item of a slate.
import { html } from '../vendor/htm-preact.js';
import { imageOf } from '../lib/catalogue.js';
import { link } from '../lib/route.js';
import { reason, score, value } from '../lib/words.js';
import { Stacked } from './contributions.js';

const CHIPS = 5;

export function Reasons({ item, catalogue }) {
  return html`<ul class="reasons">
    ${item.reasons.slice(0, 2).map(
      (one) => html`<li>${reason(one.code)}${one.item_id && html` <strong>${catalogue.title(one.item_id)}</strong>`}</li>`,
    )}
  </ul>`;
}

export function Chips({ item, attributes, most = CHIPS }) {
  const chips = Object.entries(item?.attributes || {}).flatMap(([name, given]) => {
    if (Array.isArray(given)) return given.map((one) => [name, one]);
    if (typeof given === 'string' && given.length > 40) return [];
    return [[name, attributes[name] === 'keyword' ? given : `${name.replaceAll('_', ' ')} ${value(given, attributes[name])}`]];
  });
  const heard = new Set();
  const told = chips.filter(([, text]) => !heard.has(text) && heard.add(text));
  if (!told.length) return null;
  return html`<div class="chips">
    ${told.slice(0, most).map(([name, text]) => html`<span class="chip" title=${name}>${text}</span>`)}
    ${told.length > most && html`<span class="chip">+${told.length - most}</span>`}
  </div>`;
}

function Place({ moved }) {
  if (moved === undefined) return null;
  if (moved === null) return html`<span class="chip accent">new here</span>`;
  if (moved === 0) return null;
  const words = `${moved > 0 ? 'up' : 'down'} ${Math.abs(moved)}`;
  return html`<span class=${`chip ${moved > 0 ? 'good' : ''}`}><span aria-hidden="true">${moved > 0 ? '▲' : '▼'} </span>${words}</span>`;
}

/** `actions`: [[title, what it does, disabled], …]. `moved`: places up; null: it was not there; undefined: not known. */
export function Card({ item, known, catalogue, attributes, moved, actions, user }) {
  const image = imageOf(known);
  return html`<li class="card moves">
    <span class="rank number" aria-hidden="true">${item.rank}</span>
    ${image && html`<img class="picture" src=${image} alt="" loading="lazy" />`}
    <div class="told">
      <div class="row ends">
        <h2><a href=${link('people', { item: item.item_id })}>${item.title || item.item_id}</a> <${Place} moved=${moved} /></h2>
        <span class="number quiet small" title="Score">${score(item.score)}</span>
      </div>
      <${Reasons} item=${item} catalogue=${catalogue} />
      <${Chips} item=${known} attributes=${attributes} />
      ${item.contributions && html`<${Stacked} contributions=${item.contributions} />`}
      <div class="row actions">
        ${actions.map(
          ([title, act, disabled]) =>
            html`<button type="button" class="small" disabled=${disabled} aria-label=${`${title}: ${item.title || item.item_id}`}
              onClick=${act}>${title}</button>`,
        )}
        <a class="small" href=${link('explain', { user, item: item.item_id })} aria-label=${`Why ${item.title || item.item_id}?`}>Why?</a>
      </div>
    </div>
  </li>`;
}
