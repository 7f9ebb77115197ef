// Why an item is in somebody's list, or what left it out: as the API explains it.
import { encoded } from './api.js';

const LIST = 20; // items that are explained in full

/**
 * Returns {slate, shown} with the item of the answer, its `evidence` among the first of the list; or {slate, known, told,
 * ranked}: what left it out, and its parts of a score where it may be shown at all.
 */
export async function why(api, platform, { user, item, scenario }, signal) {
  const ask = (more) =>
    api.post('/v1/recommendations', { scenario, log: false, ...(user ? { user_id: user } : {}), ...more }, signal);
  const slate = await ask({ k: platform.limits.k, explain: true });
  const found = slate.items.find((one) => one.item_id === item);
  if (found && found.rank > LIST) return { slate, shown: found };
  const list = await ask({ k: Math.min(LIST, platform.limits.k), explain: found ? 'full' : true, why_not: [item] });
  const shown = list.items.find((one) => one.item_id === item);
  if (shown) return { slate: list, shown };
  if (found) return { slate, shown: found };
  const [told] = list.why_not;
  if (told.stage === 'unknown') return { slate: list, told };
  const known = await api.get(`/v1/items/${encoded(item)}`, signal);
  const alone = { must: [{ key: 'item_id', eq: item }] };
  const { items } = await ask({ k: 1, explain: true, include_seen: true, filter: alone });
  return { slate: list, told, known, ranked: items[0] || null };
}

/** What to say of a list in which a score is higher than the one before it; null where none is. */
export const risesNote = (items) =>
  items.some((one, n) => n > 0 && one.score > items[n - 1].score + 1e-6)
    ? 'Scores need not fall from place to place: the scenario spreads what is alike (diversity, caps), and rules may pin an item.'
    : null;

/** The place that a score would have in a list, counted from 1. */
export const placeOf = (score, items) => items.filter((one) => one.score > score).length + 1;

/** The steps that an item passes, in order. */
export const STEPS = ['Catalogue', 'Availability', 'Filter', 'Excluded', 'Seen items', 'Relevance', 'Rules and spread', 'Proposed', 'Ranking'];

const SPREAD = 'Rules and spread';

/** Stage -> [step, what it says, what to do beside the change that is told]. */
export const STAGES = {
  unknown: ['Catalogue', 'There is no item of this id.', 'Is the id spelt as in the catalogue? `PUT /v1/items/ID` adds one.'],
  hidden: ['Availability', 'The item is hidden.', 'Set `hidden` to false.'],
  not_available_yet: ['Availability', 'The item may not be shown yet.', 'Set an earlier `available_from`.'],
  not_available_any_more: ['Availability', 'The item may be shown no longer.', 'Set a later `available_until`.'],
  filter: ['Filter', 'It does not match a filter.', 'Change the filter of the scenario, or the item.'],
  excluded: ['Excluded', 'The call leaves it out by name.', 'Take it out of `exclude`.'],
  seen: ['Seen items', 'This person has had to do with it already.', 'Ask with `include_seen`, or delete the event.'],
  min_relevance: ['Relevance', 'It is too far from what this person likes.', 'Lower `min_relevance` of the scenario.'],
  rule: [SPREAD, 'A rule of the scenario keeps it out.', 'Look at the rules of the scenario.'],
  cap: [SPREAD, 'Too many others of the same value are in the list.', 'Raise the cap in the scenario.'],
  rotation: [SPREAD, 'It was shown before and ignored, and makes room.', 'Lower `rotation` of the scenario.'],
  shun_above: [SPREAD, 'It is nearly like something that this person dislikes.', 'Raise `shun_above` of the scenario.'],
  diversity: [SPREAD, 'It is too much like others in the list.', 'Lower `diversity` of the scenario.'],
  explore: [SPREAD, 'Its place went to something new.', 'Lower `explore` of the scenario.'],
  sources: ['Proposed', 'No source of candidates proposed it.', 'Ask for more of a source in the scenario.'],
  rank: ['Ranking', 'It may be shown, and others are better placed.', 'A rule that boosts it brings it in, or a longer list.'],
};
