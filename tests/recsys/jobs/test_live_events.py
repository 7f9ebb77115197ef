"""Events for a training, out of all users' histories."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.scenarios import EventType
from recsys.config.serving import Serving
from recsys.data.interactions import Interactions
from recsys.jobs.live_events import NewestEvents, live_events
from recsys.reading.dataset_folder import weighted
from tests.support.world import NOW, World, catalogue, event

TYPES = Serving().event_types
IDS = [item.item_id for item in catalogue(5)]


def histories(users: int, each: int, seed: int = 3) -> list[list]:
    """Each user's whole, in the order of time, some events of items that nobody has."""
    rng = np.random.default_rng(seed)
    names = [*IDS, "gone"]
    return [
        [
            event(f"u{u:03}", names[rng.integers(len(names))], type=rng.choice(list(TYPES)), timestamp=NOW + t)
            for t in np.sort(rng.choice(10_000, each, replace=False)).tolist()
        ]
        for u in range(users)
    ]


def same(one: Interactions, other: Interactions) -> None:
    assert one.sha256() == other.sha256()
    assert list(one.user_ids) == list(other.user_ids)


@pytest.mark.parametrize("most", [10, 100, 10_000])
@pytest.mark.parametrize("at_a_time", [1, 7, 100])
def test_in_pieces_it_is_what_it_is_as_a_whole(most, at_a_time):
    """Whatever came in whichever piece: the same users, events and order."""
    told = histories(60, 30)
    newest = NewestEvents(TYPES, IDS, most)
    for start in range(0, len(told), at_a_time):
        newest.add(told[start : start + at_a_time][::-1])
    same(newest.interactions(), weighted([e for history in told for e in history], TYPES, IDS).newest(most))


def test_no_more_is_held_than_twice_what_is_asked_for():
    """However many events there are: of 20,000, each a like of its own, never more than the bound and one piece."""
    newest = NewestEvents({"like": EventType(weight=1.0)}, IDS, 100)
    for u in range(1000):
        newest.add([[event(f"u{u}", item, timestamp=NOW + u) for item in IDS]])
        assert newest.kept <= 200 + len(IDS)
    assert len(newest.interactions()) == 100
    assert newest.interactions().users == 100 // len(IDS)


def test_of_no_histories_there_are_no_interactions():
    """And the catalogue is still there."""
    none = NewestEvents(TYPES, IDS, 5).interactions()
    assert (len(none), none.users, list(none.item_ids)) == (0, 0, IDS)


def test_a_user_who_is_read_twice_counts_once():
    """Redis may show a key twice when it walks through all of them."""
    told = histories(3, 5)
    newest = NewestEvents(TYPES, IDS, 1000)
    for page in (told, told[:1]):
        newest.add(page)
    same(newest.interactions(), weighted([e for history in told for e in history], TYPES, IDS))


async def test_all_users_of_the_platform_are_read(make_world, redis):
    """In more pages than one."""
    world: World = await make_world(items=catalogue(5))
    told = [event(f"u{u}", IDS[u % len(IDS)]) for u in range(250)]
    await world.gateway.record(told)
    seen: list[int] = []
    found = await live_events(redis, 1000, TYPES, IDS, 1000, lambda _, done, of: seen.append(done))
    assert (found.users, seen[-1]) == (250, 250)
    assert len(seen) >= 3
    same(found, weighted(told, TYPES, IDS))
    assert (await live_events(redis, 1000, TYPES, IDS, 40)).users == 40
