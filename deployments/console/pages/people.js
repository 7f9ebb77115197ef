// People and items: what is known of somebody, and of something.
import { html, useEffect, useState } from '../vendor/htm-preact.js';
import { note } from '../lib/route.js';
import { Tabs } from '../parts/fields.js';
import { Head } from '../parts/notices.js';
import { Item } from './people/item.js';
import { ItemList } from './people/item_list.js';
import { Person } from './people/person.js';

export function People({ given, ...context }) {
  const [look, setLook] = useState({
    at: given.item ? 'items' : given.at || 'people',
    user: given.user || '',
    item: given.item || '',
  });
  const put = (part) => setLook((before) => ({ ...before, ...part }));
  useEffect(() => {
    if (given.user && given.user !== look.user) put({ at: 'people', user: given.user });
    else if (given.item && given.item !== look.item) put({ at: 'items', item: given.item });
  }, [given.user, given.item]);
  useEffect(() => {
    note('people', look.at === 'people' ? { user: look.user } : { at: 'items', item: look.item });
  }, [look]);
  return html`<${Head} title="People and items">What is known, and what is made of it.<//>
    <div><${Tabs} label="What to look at" value=${look.at} options=${[['people', 'People'], ['items', 'Items']]} change=${(at) => put({ at })} /></div>
    ${look.at === 'people'
      ? html`<${Person} context=${context} user=${look.user} choose=${(user) => put({ user })} />`
      : html`<div class="catalogue">
          <${ItemList} context=${context} chosen=${look.item} choose=${(item) => put({ item })} />
          <${Item} key=${look.item} context=${context} id=${look.item} choose=${(item) => put({ item })} />
        </div>`}`;
}
