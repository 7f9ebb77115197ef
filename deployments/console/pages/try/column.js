// One answer as a column of cards: it asks, shows, takes what is said of an item, and tells what that moved.
import { html, useEffect, useRef, useState } from '../../vendor/htm-preact.js';
import { useAnswer } from '../../lib/asking.js';
import { risesNote } from '../../lib/why.js';
import { milliseconds, noteText, percent, plural, reason } from '../../lib/words.js';
import { Card } from '../../parts/card.js';
import { Choice } from '../../parts/fields.js';
import { Empty, Failed } from '../../parts/notices.js';
import { named } from '../../parts/contributions.js';
import { movesOf } from './moves.js';
import { requestOf } from './request.js';

/** Who may answer: as the person is answered, each variant of the scenario's experiment, each version that users have. */
function answerersOf(platform, scenario) {
  const variants = (platform.variants[scenario] || []).map((name) => [
    JSON.stringify({ variant: name }),
    `Variant ${name.split('/')[1]} of ${name.split('/')[0]}`,
  ]);
  const versions = platform.versions.map(({ version, share }) => [
    JSON.stringify({ version }),
    `Version ${version}, of ${percent(share, 0)} of the people`,
  ]);
  return [['{}', 'As this person is answered'], ...variants, ...(versions.length > 1 ? versions : [])];
}

/** `said`: {id, text} of the newest thing that was said of an item; the answer after it is compared with the one before. */
export function Column({ context, wish, scenario, scenarios, choose, hidden, said, act, asked, close, title }) {
  const { api, catalogue, platform, may } = context;
  const [more, setMore] = useState([]);
  const [token, setToken] = useState(null);
  const [wrong, setWrong] = useState(null);
  const [moves, setMoves] = useState(null);
  const [chosen, setChosen] = useState('{}');
  const last = useRef({ items: null, said: null, question: '' });
  const answerers = answerersOf(platform, scenario);
  const by = answerers.some(([key]) => key === chosen) ? chosen : '{}';
  const request = requestOf(wish, scenario, hidden, platform.attributes, 'first', JSON.parse(by));
  const key = request && JSON.stringify([request, said?.id]);
  const question = JSON.stringify([wish, scenario, by]);

  const { answer, problem, busy, again } = useAnswer(
    async (signal) => {
      const slate = await api.call(request.method, request.path, request.body, signal);
      const liked = slate.items.flatMap((item) => item.reasons.map((one) => one.item_id)).filter(Boolean);
      await catalogue.fetch([...slate.items.map((item) => item.item_id), ...liked], signal);
      return slate;
    },
    key && [key],
  );
  useEffect(() => {
    if (!answer) return;
    const before = last.current;
    const comparable = before.items && before.question === question && said && before.said !== said.id;
    setMoves(comparable ? { ...movesOf(before.items, answer.items), said } : null);
    last.current = { items: answer.items, said: said?.id || null, question };
    setMore([]);
    setToken(answer.next_token || null);
    asked?.(request, answer);
  }, [answer]);

  async function next() {
    const following = requestOf(wish, scenario, hidden, platform.attributes, token);
    try {
      const slate = await api.call(following.method, following.path, following.body);
      await catalogue.fetch(slate.items.map((item) => item.item_id));
      setMore([...more, ...slate.items]);
      setToken(slate.next_token || null);
      setWrong(null);
    } catch (problem) {
      setWrong(problem);
    }
  }

  const items = answer ? [...answer.items, ...more] : [];
  return html`<section class="stack column" aria-label=${title} aria-busy=${busy}>
    <div class="row ends">
      <span class="row">
        <${Choice} label="Scenario" value=${scenario} options=${scenarios} change=${choose} />
        ${answerers.length > 1 && html`<${Choice} label="Answered by" value=${by} options=${answerers} change=${setChosen} />`}
      </span>
      <span class="row">
        ${answer && html`<span class="quiet small number">${milliseconds(answer.took_ms)}</span>`}
        ${close && html`<button type="button" class="small" onClick=${close}>Close this column</button>`}
      </span>
    </div>
    ${problem && html`<${Failed} problem=${problem} again=${again} />`}
    ${!request && html`<${Unasked} call=${wish.call} />`}
    ${answer?.degraded.length > 0 &&
    html`<p class="note warn">Without ${answer.degraded.join(', ')}: a part does not answer. The others do.</p>`}
    ${moves && html`<${Moved} moves=${moves} signals=${platform.signals} />`}
    ${request && answer && !items.length && !problem && html`<${Empty} title="No items">${(answer.notes || []).map(noteText).join(' ')}<//>`}
    ${request &&
    items.length > 0 &&
    html`<ol class="cards">
      ${items.map(
        (item) => html`<${Card} key=${item.item_id} item=${item} known=${catalogue.known(item.item_id)} catalogue=${catalogue}
          attributes=${platform.attributes} moved=${moves?.places.get(item.item_id)} user=${wish.user}
          actions=${actionsOf(item, by === '{}' ? answer : {}, act, may('write'))} />`,
      )}
    </ol>`}
    ${items.length > 0 && (answer.notes || []).map((one) => html`<p class="quiet small">${noteText(one)}</p>`)}
    ${risesNote(items) && html`<p class="quiet small">${risesNote(items)}</p>`}
    ${wrong && html`<${Failed} problem=${wrong} again=${next} />`}
    ${token && items.length > 0 && html`<button type="button" onClick=${next}>Next page</button>`}
  </section>`;
}

function actionsOf(item, answer, act, writes) {
  return [
    ['Like', () => act('like', item, answer), !writes],
    ['Dislike', () => act('dislike', item, answer), !writes],
    ['Hide', () => act('hide', item, answer)],
    ['Similar', () => act('similar', item, answer)],
    ['Basket', () => act('basket', item, answer)],
  ];
}

function Unasked({ call }) {
  if (call === 'search') return html`<${Empty} title="Search by meaning">Type a few words above; answers come as you type.<//>`;
  return html`<${Empty} title="Similar to what?">Name an item above, or press “Similar” on a card of another tab.<//>`;
}

const TOLD = 4;

function Moved({ moves, signals }) {
  const { came, left, risen, said } = moves;
  const still = !came.length && !left.length && !risen.length;
  return html`<div class="note good" role="status">
    <p><strong>${said.text}.</strong> ${still ? 'The list stays as it was.' : 'The very next answer knows it:'}</p>
    ${!still &&
    html`<ul>
      ${left.slice(0, TOLD).map(
        (item) => html`<li><strong>${item.title}</strong> left the list${item.item_id === said.item ? `, for ${said.why}` : ''}.</li>`,
      )}
      ${came.slice(0, TOLD).map(
        (item) => html`<li><strong>${item.title}</strong> came in at ${item.rank}: ${reason(item.reasons[0]?.code || item.source)}.</li>`,
      )}
      ${risen.slice(0, TOLD).map(
        (item) => html`<li><strong>${item.title}</strong> rose from ${item.from} to ${item.rank}${item.by ? `: ${item.by.name} +${item.by.part.toFixed(3)} (${named(item.by.name, signals)})` : ''}.</li>`,
      )}
      ${came.length + left.length + risen.length > 3 * TOLD && html`<li>${plural(came.length + left.length + risen.length, 'item')} moved in all.</li>`}
    </ul>`}
  </div>`;
}
