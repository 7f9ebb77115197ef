// What became of a list after something was said: who came, who went, who moved, and by which part of the score.
import { bySize } from '../../parts/contributions.js';

/** `before` and `after`: items of two answers to one question. */
export function movesOf(before, after) {
  const was = new Map(before.map((item) => [item.item_id, item]));
  const is = new Set(after.map((item) => item.item_id));
  const places = new Map();
  for (const item of after) {
    const old = was.get(item.item_id);
    places.set(item.item_id, old ? old.rank - item.rank : null);
  }
  return {
    places,
    came: after.filter((item) => !was.has(item.item_id)),
    left: before.filter((item) => !is.has(item.item_id)),
    risen: after
      .filter((item) => (places.get(item.item_id) || 0) > 0)
      .map((item) => ({ ...item, from: was.get(item.item_id).rank, by: grown(was.get(item.item_id), item) })),
  };
}

/** The part of the score that grew most, null where none did. */
function grown(old, item) {
  const names = Object.keys({ ...old.contributions, ...item.contributions });
  const grew = Object.fromEntries(
    names.map((name) => [name, (item.contributions?.[name] || 0) - (old.contributions?.[name] || 0)]),
  );
  const [first] = bySize(grew).filter(([, part]) => part > 0);
  return first ? { name: first[0], part: first[1] } : null;
}
