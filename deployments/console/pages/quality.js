// Quality: what came of what was answered, and how good each version is by its own measurements.
import { html, useState } from '../vendor/htm-preact.js';
import { Tabs } from '../parts/fields.js';
import { Head } from '../parts/notices.js';
import { CatalogueUse } from './quality/catalogue_use.js';
import { Experiments } from './quality/experiments.js';
import { Outcomes } from './quality/outcomes.js';
import { Recall } from './quality/recall.js';
import { Compared } from './quality/compared.js';

const DAY_S = 86_400;
const PERIODS = [['1', 'last day'], ['7', 'last 7 days'], ['30', 'last 30 days']];

export function Quality({ given, ...context }) {
  const { may } = context;
  const [days, setDays] = useState('7');
  const head = html`<${Head} title="Quality">What came of the answers, with how sure that is; and versions side by side.<//>`;
  if (!may('admin')) {
    return html`${head}<p class="note warn">Outcomes and versions are shown to keys with the scope <code>admin</code>. Recall is below.</p><${Recall} live=${context.live} />`;
  }
  const since = Math.floor(Date.now() / 600_000) * 600 - Number(days) * DAY_S;
  return html`${head}
    <div class="row"><${Tabs} label="Period" value=${days} options=${PERIODS} change=${setDays} /></div>
    <${Outcomes} context=${context} since=${since} />
    <${CatalogueUse} context=${context} since=${since} />
    <${Experiments} context=${context} />
    <${Compared} context=${context} />
    <${Recall} live=${context.live} />`;
}
