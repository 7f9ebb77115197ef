// What an edit would change: lists of some people, before and after. Nothing is stored.
import { html } from '../../vendor/htm-preact.js';
import { Text } from '../../parts/fields.js';
import { Empty, Failed } from '../../parts/notices.js';

export function Preview({ call, asked, ask, ready, changed, preview, refused }) {
  const put = (part) => ask({ ...asked, ...part });
  const { answer, problem, busy } = preview;
  return html`<section class="sheet stack" aria-labelledby="preview" aria-busy=${busy}>
    <div class="row ends"><h2 id="preview">Preview</h2><span class="quiet small">${changed ? 'before and after' : 'as it is; change something to compare'}</span></div>
    <div class="columns">
      <${Text} label="People, with commas; empty: some who came lately" value=${asked.users} change=${(users) => put({ users })} />
      ${call === 'search' && html`<${Text} label="Text to search for" value=${asked.text} change=${(text) => put({ text })} />`}
      ${call === 'similar' && html`<${Text} label="Item id" value=${asked.item} change=${(item) => put({ item })} />`}
      ${call === 'rank' && html`<${Text} label="Item ids, with commas" value=${asked.item} change=${(item) => put({ item })} />`}
    </div>
    ${!ready && html`<${Empty} title="Name an item">Scenarios for ${call} begin with one: give its id above.<//>`}
    ${problem && !refused && html`<${Failed} problem=${problem} />`}
    ${ready && answer && !problem &&
    answer.users.map((one, n) => html`<${Lists} key=${one.user_id} one=${one} changed=${changed} open=${changed || n === 0} />`)}
  </section>`;
}

function Lists({ one, changed, open }) {
  const before = one.before || [];
  const was = new Map(before.map((item, n) => [item.item_id, n]));
  const moved = one.after.filter((item, n) => was.get(item.item_id) !== n).length;
  return html`<details open=${open || null}>
    <summary>${one.user_id || 'Somebody who is not known'} ${changed && html`<span class=${`chip ${moved ? 'accent' : ''}`}>${moved ? `${moved} places change` : 'no change'}</span>`}</summary>
    <div class="scrolls" role="region" tabindex="0" aria-label=${`Lists of ${one.user_id || 'somebody unknown'}`}><table>
      <thead><tr><th class="number"></th>${changed && html`<th>Before</th>`}<th>${changed ? 'After' : 'Now'}</th></tr></thead>
      <tbody>
        ${one.after.map((item, n) => {
          const at = was.get(item.item_id);
          const mark = !changed || at === n ? '' : at === undefined ? 'new' : at > n ? `▲ ${at - n}` : `▼ ${n - at}`;
          return html`<tr><th scope="row" class="number">${n + 1}</th>${changed && html`<td class="quiet">${before[n]?.title ?? ''}</td>`}
            <td>${item.title || item.item_id} ${mark && html`<span class=${`chip ${mark.startsWith('▼') ? '' : 'good'}`}>${mark}</span>`}</td></tr>`;
        })}
      </tbody>
    </table></div>
  </details>`;
}
