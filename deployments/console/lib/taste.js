// What a history says of somebody, in words. The newest word about an item counts.

/** Whether an event is a like of its item by the settings of its type. */
function likes(event, types) {
  const type = types[event.type];
  if (!type || !(type.weight > 0)) return false;
  return type.liked_from === null || type.liked_from === undefined || (event.value ?? -Infinity) >= type.liked_from;
}

/** The events, one an item, that are likes of today; newest first, as the history is. */
export function liked(history, types) {
  return lastWords(history).filter((event) => likes(event, types));
}

export function disliked(history, types) {
  return lastWords(history).filter((event) => !likes(event, types) && types[event.type]?.weight < 0);
}

function lastWords(history) {
  const heard = new Set();
  return history.filter(({ item_id: id }) => !heard.has(id) && heard.add(id));
}

/** [[attribute, value, how many of the items], …], the most frequent first; keywords alone. */
export function common(items, attributes) {
  const counts = new Map();
  for (const item of items.filter(Boolean)) {
    for (const [name, value] of Object.entries(item.attributes)) {
      if (!attributes[name]?.startsWith('keyword')) continue;
      for (const one of Array.isArray(value) ? value : [value]) {
        const key = JSON.stringify([name, one]);
        counts.set(key, (counts.get(key) || 0) + 1);
      }
    }
  }
  const named = new Set(); // one word may be a value of two attributes
  return [...counts]
    .sort((a, b) => b[1] - a[1])
    .map(([key, n]) => [...JSON.parse(key), n])
    .filter(([, value]) => !named.has(value) && named.add(value));
}
