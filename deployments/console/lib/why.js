// Why an item is in somebody's list, or at which step it was left out: asked of the public API, one question at a time.
import { encoded } from './api.js';

/**
 * Returns {shown: the item of the answer, slate} or {stage, rule, says, todo, ranked}: where it was left out, what did
 * it, and what would bring it in. `ranked`: its score beside that of the last one in the list, where there is one.
 */
export async function why(api, platform, { user, item, scenario }, signal) {
  const asked = { scenario, k: platform.limits.k, explain: true, log: false, ...(user ? { user_id: user } : {}) };
  const slate = await api.post('/v1/recommendations', asked, signal);
  const shown = slate.items.find((one) => one.item_id === item);
  if (shown) return { shown, slate };
  const known = await api.get(`/v1/items/${encoded(item)}`, signal).catch((problem) => {
    if (problem.status === 404) return null;
    throw problem;
  });
  const found = known ? await stageOf(api, asked, known, signal) : NO_ITEM;
  return { slate, known, ...found };
}

const NO_ITEM = {
  stage: 'Catalogue',
  rule: 'no such item',
  says: 'There is no item of this id.',
  todo: 'Is the id spelt as in the catalogue? `PUT /v1/items/ID` adds one.',
};

async function stageOf(api, asked, known, signal) {
  const now = Date.now() / 1000;
  if (known.hidden) {
    return { stage: 'Availability', rule: 'hidden', says: 'The item is hidden.', todo: 'Set `hidden` to false.' };
  }
  if (known.available_from !== null && known.available_from > now) {
    return { stage: 'Availability', rule: 'available_from', says: 'The item may not be shown yet.', todo: 'Set an earlier `available_from`.' };
  }
  if (known.available_until !== null && known.available_until <= now) {
    return { stage: 'Availability', rule: 'available_until', says: 'The item may be shown no longer.', todo: 'Set a later `available_until`.' };
  }
  const alone = { must: [{ key: 'item_id', eq: known.item_id }] };
  const only = (more) => api.post('/v1/recommendations', { ...asked, k: 1, filter: alone, ...more }, signal);
  const unseen = await only({ include_seen: false });
  if (!unseen.items.length) {
    const seen = await only({ include_seen: true });
    if (seen.items.length) {
      return { stage: 'Seen items', rule: 'include_seen', says: 'This person has had to do with it already.', todo: 'Ask with `include_seen`, or delete the event.', event: true };
    }
    return {
      stage: 'Filter of the scenario',
      rule: (seen.notes || []).join(', ') || 'filter',
      says: 'The scenario does not let it in: its filter or its least relevance drops the item.',
      todo: 'Change `filter` or `min_relevance` of the scenario.',
    };
  }
  return ranking(unseen.items[0]);
}

function ranking(item) {
  return {
    stage: 'Ranking',
    rule: 'score',
    says: 'It may be shown, and others are better placed.',
    todo: 'More likes of what it resembles, or a rule that boosts it, would bring it in.',
    ranked: item,
  };
}

/** The place that a score would have in a list, counted from 1. */
export const placeOf = (score, items) => items.filter((one) => one.score > score).length + 1;
