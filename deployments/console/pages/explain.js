// Explain: why an item is where it is for somebody, or what kept it out.
import { html, useEffect, useState } from '../vendor/htm-preact.js';
import { useAnswer } from '../lib/asking.js';
import { link, note } from '../lib/route.js';
import { why } from '../lib/why.js';
import { Choice, Settled } from '../parts/fields.js';
import { Empty, Failed, Head } from '../parts/notices.js';
import { LeftOut } from './explain/left_out.js';
import { Shown } from './explain/shown.js';

export function Explain({ given, ...context }) {
  const { api, catalogue, platform, may } = context;
  const scenarios = Object.keys(platform.scenarios).filter((name) => platform.scenarios[name] === 'home');
  const [asked, setAsked] = useState({
    user: given.user || '',
    item: given.item || '',
    scenario: scenarios.includes(given.scenario) ? given.scenario : 'home',
  });
  const [people, setPeople] = useState([]);
  const put = (part) => setAsked((before) => ({ ...before, ...part }));
  useEffect(() => {
    if (may('admin')) api.get('/v1/admin/users?limit=50').then(({ users }) => setPeople(users), () => {});
  }, []);
  useEffect(() => note('explain', asked), [asked]);
  const ready = asked.item && asked.user;
  const { answer, problem, busy, again } = useAnswer(
    async (signal) => {
      const found = await why(api, platform, asked, signal);
      const { evidence, reasons } = found.shown || found.ranked || {};
      const likes = (reasons || []).map((one) => one.item_id).filter(Boolean);
      const shared = (evidence?.shared || []).flatMap((one) => one.items);
      await catalogue.fetch([asked.item, ...likes, ...shared, ...(evidence?.without || [])], signal);
      return { ...found, asked };
    },
    ready ? [asked.user, asked.item, asked.scenario] : null,
  );
  return html`<${Head} title="Explain">Why an item is there for somebody – or which step left it out.<//>
    <div class="sheet asked explained">
      <${Settled} label="Person (user id)" value=${asked.user} options=${people} change=${(user) => put({ user })} maxlength="128" />
      <${Settled} label="Item id" value=${asked.item} change=${(item) => put({ item })} maxlength="128" />
      <${Choice} label="Scenario" value=${asked.scenario} options=${scenarios} change=${(scenario) => put({ scenario })} />
    </div>
    <div class="stack" aria-live="polite" aria-busy=${busy}>
      ${!ready && html`<${Empty} title="Whom, and which item?">Name both above, or press “Why?” on a card of <a href=${link('try')}>Try it</a>.<//>`}
      ${problem && html`<${Failed} problem=${problem} again=${again} />`}
      ${ready && answer && !problem &&
      (answer.shown
        ? html`<${Shown} key=${`${answer.asked.user} ${answer.asked.item}`} context=${context} found=${answer} />`
        : html`<${LeftOut} context=${context} found=${answer} />`)}
    </div>`;
}
