// Try it: ask as a shop would, and see what one event changes.
import { html, useEffect, useState } from '../vendor/htm-preact.js';
import { unique } from '../lib/api.js';
import { useRested } from '../lib/asking.js';
import { note } from '../lib/route.js';
import { plural } from '../lib/words.js';
import { Settled, Tabs, Text, Tick } from '../parts/fields.js';
import { FilterLines } from '../parts/filter.js';
import { Failed, Head } from '../parts/notices.js';
import { Column } from './try/column.js';
import { ContextFields, Program } from './try/options.js';
import { CALLS } from './try/request.js';

const invented = () => `visitor-${unique(3)}`;
const WORDS = {
  like: ['like', 'what one has had to do with is not shown again'],
  dislike: ['dislike', 'what is disliked is not shown again'],
  hide: ['hide', 'it is hidden here'],
};

export function TryIt({ given, ...around }) {
  const { api, catalogue, may } = around;
  const [platform, setPlatform] = useState(around.platform);
  const context = { ...around, platform };
  const [wish, setWish] = useState(() => ({
    call: given.call || 'home',
    user: given.user || '',
    item: given.item || '',
    text: given.text || '',
    k: Math.min(12, platform.limits.k),
    conditions: [],
    context: {},
    basket: [],
    basketType: 'view' in platform.event_types ? 'view' : Object.keys(platform.event_types)[0],
    seen: false,
    diversity: '',
  }));
  const [people, setPeople] = useState([]);
  const [scenarios, setScenarios] = useState({});
  const [second, setSecond] = useState(null);
  const [hidden, setHidden] = useState([]);
  const [said, setSaid] = useState(null);
  const [problem, setProblem] = useState(null);
  const [call, setCall] = useState(null);
  const put = (part) => setWish((before) => ({ ...before, ...part }));

  useEffect(() => {
    if (!may('admin')) {
      if (!wish.user) put({ user: invented() });
      return;
    }
    api.get('/v1/admin/users?limit=50').then(
      ({ users }) => {
        setPeople(users);
        setWish((before) => ({ ...before, user: before.user || users[0] || invented() }));
      },
      () => put({ user: wish.user || invented() }),
    );
  }, []);
  useEffect(() => {
    const { user, item, text } = wish;
    note('try', { call: wish.call === 'home' ? '' : wish.call, user, item: wish.call === 'similar' ? item : '', text });
  }, [wish.call, wish.user, wish.item, wish.text]);

  const words = useRested(wish.text);
  const asking = { ...wish, text: words };
  const names = Object.keys(platform.scenarios).filter((name) => platform.scenarios[name] === wish.call);
  const scenario = scenarios[wish.call] || (names.includes(wish.call) ? wish.call : names[0]);

  async function act(kind, item, answer) {
    setProblem(null);
    if (kind === 'similar') return put({ call: 'similar', item: item.item_id });
    if (kind === 'basket') return put({ basket: [...new Set([...wish.basket, item.item_id])] });
    const [verb, why] = WORDS[kind];
    try {
      if (kind === 'hide') setHidden([...hidden, item.item_id]);
      else await api.tell(wish.user, item.item_id, kind, { request_id: answer.request_id });
      setSaid({ id: unique(4), item: item.item_id, text: `You ${verb} ${item.title || item.item_id}`, why });
    } catch (wrong) {
      setProblem(wrong);
    }
  }

  function compare() {
    setSecond(scenario);
    api.get('/v1/platform').then(setPlatform, setProblem); // experiments and versions may have come since
  }

  const column = { context, wish: asking, scenarios: names, hidden, said, act };
  return html`<${Head} title="Try it">
      Ask as your own pages would. Like something: the very next answer knows it.
    <//>
    <div class="sheet stack">
      <div class="row ends">
        <${Tabs} label="Call" value=${wish.call} options=${CALLS} change=${(next) => put({ call: next })} />
        ${second === null && html`<button type="button" onClick=${compare}>Compare two side by side</button>`}
      </div>
      <div class="asked">
        ${wish.call === 'search' &&
        html`<${Text} label="What is searched for" type="search" value=${wish.text} change=${(text) => put({ text })} maxlength="500" />`}
        ${wish.call === 'similar' && html`<${Settled} label="Item id" value=${wish.item} change=${(item) => put({ item })} maxlength="128" />`}
        <${Settled} label=${wish.call === 'home' ? 'Person (user id)' : 'Person, whose taste counts'} value=${wish.user} options=${people}
          change=${(user) => put({ user })} maxlength="128" />
        <button type="button" onClick=${() => put({ user: invented() })}>Invent somebody new</button>
      </div>
      <details>
        <summary>Filter, context, basket and more</summary>
        <div class="columns options">
          <div class="stack">
            <h2>Filter</h2>
            <${FilterLines} attributes=${platform.attributes} lines=${wish.conditions} change=${(conditions) => put({ conditions })} />
          </div>
          <${ContextFields} declared=${platform.context} value=${wish.context} change=${(next) => put({ context: next })} />
          <div class="stack">
            <h2>More</h2>
            <label class="field"><span>Items a page</span>
              <input type="number" min="1" max=${platform.limits.k} value=${wish.k}
                onChange=${(e) => e.target.checkValidity() && put({ k: Number(e.target.value) })} /></label>
            <label class="field"><span>Diversity, 0 to 1; empty: the scenario’s</span>
              <input type="number" min="0" max="1" step="0.05" value=${wish.diversity}
                onChange=${(e) => e.target.checkValidity() && put({ diversity: e.target.value })} /></label>
            <${Tick} label="With seen items" value=${wish.seen} change=${(seen) => put({ seen })} />
          </div>
        </div>
      </details>
      ${wish.basket.length > 0 &&
      html`<div class="row"><span>${plural(wish.basket.length, 'item')} in the basket, which count for these answers alone:</span>
        ${wish.basket.map((id) => html`<button type="button" class="small" aria-label=${`Take ${catalogue.title(id)} out of the basket`}
          onClick=${() => put({ basket: wish.basket.filter((one) => one !== id) })}>${catalogue.title(id)} ✕</button>`)}</div>`}
      ${hidden.length > 0 &&
      html`<div class="row"><span>${plural(hidden.length, 'item')} hidden here.</span>
        <button type="button" class="small" onClick=${() => setHidden([])}>Show again</button></div>`}
      ${!may('write') && html`<p class="quiet small">Likes and dislikes need a key with the scope <code>write</code>.</p>`}
    </div>
    ${problem && html`<${Failed} problem=${problem} />`}
    <div class=${second === null ? 'one' : 'pair'}>
      ${wish.user &&
      html`<${Column} ...${column} title="Answer" scenario=${scenario} asked=${setCallOf(setCall)}
        choose=${(name) => setScenarios({ ...scenarios, [wish.call]: name })} />`}
      ${second !== null &&
      html`<${Column} ...${column} title="Second answer" scenario=${names.includes(second) ? second : scenario} choose=${setSecond}
        close=${() => setSecond(null)} />`}
    </div>
    ${call && html`<${Program} api=${api} call=${call} keyed=${!platform.open} />`}`;
}

const setCallOf = (setCall) => (request) => setCall(request);
