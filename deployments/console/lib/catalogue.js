// Items by id, asked for together and remembered for the visit.
import { query } from './api.js';

const EACH = 100; // ids that one filter names
const KEPT = 20_000;

export class Catalogue {
  #items = new Map();

  constructor(api) {
    this.api = api;
  }

  known(id) {
    return this.#items.get(id);
  }

  keep(items) {
    if (this.#items.size > KEPT) this.#items.clear();
    for (const item of items) this.#items.set(item.item_id, item);
  }

  forget(id) {
    this.#items.delete(id);
  }

  title(id) {
    return this.#items.get(id)?.title || id;
  }

  /** Have the items of these ids known, as far as there are such items. */
  async fetch(ids, signal) {
    const lacking = [...new Set(ids)].filter((id) => !this.#items.has(id));
    for (let from = 0; from < lacking.length; from += EACH) {
      const part = lacking.slice(from, from + EACH);
      const filter = JSON.stringify({ must: [{ key: 'item_id', any: part }] });
      const page = await this.api.get(`/v1/items${query({ limit: part.length, filter })}`, signal);
      this.keep(page.items);
    }
  }
}

const IMAGE = /\.(avif|gif|jpe?g|png|svg|webp)$/i;

/** The first attribute that is an image of this host: the page may load no other. */
export function imageOf(item) {
  for (const value of Object.values(item?.attributes || {})) {
    if (typeof value !== 'string' || !(value.startsWith('/') || value.startsWith(location.origin))) continue;
    const url = new URL(value, location.href);
    if (url.origin === location.origin && IMAGE.test(url.pathname)) return url.href;
  }
  return null;
}
