// Which place an item would have without one of a person's events. The answer is asked for nobody in particular, with the
// other events as its basket: they count as if they had been sent, and nothing is stored or logged.

const BASKET = 50; // events that one call may carry
const EXCLUDED = 1000;

/**
 * Returns place(eventId): the item's place without that event, null where it is in the list no more; without an argument
 * the place with all of them. `history`: newest first.
 */
export function placesWithout(api, platform, { item, scenario }, history, signal) {
  const newest = history.slice(0, BASKET);
  const exclude = [...new Set(history.map((one) => one.item_id))].filter((id) => id !== item).slice(0, EXCLUDED);
  return async (eventId) => {
    const events = newest
      .filter((one) => one.event_id !== eventId)
      .reverse()
      .map(({ item_id, type, value, timestamp }) => ({ item_id, type, value: value ?? null, timestamp }));
    const asked = { scenario, k: platform.limits.k, events, exclude: exclude.slice(0, platform.limits.bulk), log: false };
    const { items } = await api.post('/v1/recommendations', asked, signal);
    const place = items.findIndex((one) => one.item_id === item);
    return place < 0 ? null : place + 1;
  };
}

/** Whether the places are those of the whole history, or of its newest part alone. */
export const isWhole = (history) => history.length <= BASKET;
