"""Events for a training, out of all users' histories."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.scenarios import EventType
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.data.interactions import Interactions
from recsys.datatypes import RecQuery
from recsys.jobs.live_events import NamedAnswers, NewestEvents, live_events, live_lessons
from recsys.outcomes.log_files import LogFiles
from recsys.reading.dataset_folder import weighted
from tests.support.slate_log import collect
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


async def test_in_which_context_an_item_was_found_is_known(make_world, redis, short_slots):
    """Of the answer that the newest event about the item names. Other events and answers tell nothing."""
    world: World = await make_world(context={"device": "keyword", "hour": "number"})
    asked = {"phone": {"device": "phone", "hour": 7.0}, "desk": {"device": "desk"}, "plain": {}}
    for name, context in asked.items():
        await world.gateway.recommend(RecQuery(k=2, user_id="u", context=context, request_id=name))
    await world.gateway.answers.step()
    await collect(redis, LogFiles.of(world.platform))
    named = [
        ("sea-1", "desk"),
        ("sea-1", "phone"),
        ("sea-2", "plain"),
        ("sea-3", "never"),
        ("sea-4", None),
        ("sea-5", "desk"),
    ]
    await world.gateway.record([event("u", item, request_id=request) for item, request in named])
    config = Config(world.platform, world.gateway.settings, ShardTuning())
    data, known = await live_lessons(redis, config, [item.item_id for item in world.items])
    assert (data.users, known.users) == (1, {})
    assert known.moments == {("u", "sea-1"): asked["phone"], ("u", "sea-5"): asked["desk"]}


def test_of_few_events_the_newest_answers_are_remembered():
    """No more than twice what is asked for, and the newest of them."""
    named = NamedAnswers(10)
    for n in range(200):
        named.add([[event(f"u{n}", "a", timestamp=NOW + n, request_id=f"r{n}")]])
        assert len(named) <= 20
    assert "r199" in named.request_ids()
    assert "r0" not in named.request_ids()
