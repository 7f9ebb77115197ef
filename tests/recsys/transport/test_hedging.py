"""A late shard is asked a second time at another replica: soon enough to help, seldom enough to cost little."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import Unavailable
from recsys.transport import direct_shard
from recsys.transport.hedging import Hedging
from tests.support.late_replicas import (
    LATE_S,
    QUERY,
    answer,
    asked,
    asked_in_vain,
    asked_once,
    asked_twice,
    saved,
    stage,
)
from tests.support.world import eventually


def known(share: float = 0.05, calls: int = 256) -> Hedging:
    """Calls took 1 to 256 ms."""
    hedging = Hedging(share)
    for i in range(calls):
        hedging.record((i % 256 + 1) / 1000)
    return hedging


@pytest.mark.parametrize(("share", "late_ms"), [(0.05, 244), (0.5, 129), (0.01, 254)])
def test_a_call_is_late_that_takes_longer_than_all_but_the_share(share, late_ms):
    late_s = known(share).late_s
    assert late_s is not None
    assert round(late_s * 1000) == late_ms


def test_no_call_is_late_before_enough_are_known_or_where_none_may_be_made_again():
    assert known(calls=63).late_s is None
    assert known(calls=64).late_s is not None
    hedging = known()
    hedging.share = 0.0
    assert hedging.late_s is None


@given(st.lists(st.booleans(), max_size=2000), st.sampled_from([0.01, 0.05, 0.2]))
def test_no_more_calls_are_made_again_than_the_share(late, share):
    """However many are late, and when; from the first call on."""
    hedging, again = Hedging(share), 0
    for calls, one in enumerate(late):
        again += one and hedging.spend()
        hedging.record(0.001)
        assert again <= share * (calls + 1)
    if all(late) and len(late) > 200:
        assert again >= 0.8 * share * len(late) - 2


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("quiet", [0, 7, 500, 5000])
def test_no_part_of_the_calls_is_made_again_beyond_the_share(share, quiet):
    """Not even where it begins after a quiet time in which calls were saved up, and all are late from then on."""
    hedging, again = known(share, quiet), 0
    for calls in range(1, 3000):
        again += hedging.spend()
        hedging.record(0.001)
        assert calls < 800 or again <= share * calls


def test_after_a_quiet_time_only_a_few_are_made_again_in_a_row():
    hedging = known(calls=5000)
    assert sum(hedging.spend() for _ in range(100)) == 8


async def test_a_search_whose_question_has_left_is_answered_as_any_other() -> None:
    """By its replica; and by the other way where that is gone before it has answered."""
    async with stage(1, None) as one:
        assert one.shard.begin(QUERY) is None  # there is no connection yet
        await one.ask()
        begun = one.shard.begin(QUERY)
        assert begun is not None
        assert (len((await begun()).keys), one.searches, one.fallback.searches) == (len(answer().keys), 2, 0)
        one.hold(one.replicas[0])
        begun, one.members = one.shard.begin(QUERY), []
        assert begun is not None
        assert one.shard.begin(QUERY) is None  # nobody is there any more
        assert (len((await begun()).keys), one.fallback.searches) == (len(answer().keys), 1)


async def test_a_search_that_may_go_to_two_replicas_does_not_leave_early() -> None:
    async with stage(2, Hedging()) as one:
        await one.ask()
        assert one.shard.begin(QUERY) is None


async def test_a_late_search_is_answered_by_another_replica(clock):
    async with stage(2, saved()) as here:
        here.hold(here.replicas[0])
        asking = await asked(here)
        clock.forward(LATE_S)
        await asking
        assert here.counts.outcomes == ["won"]
        assert here.fallback.searches == 0


async def test_the_first_replica_may_be_first_all_the_same(clock):
    async with stage(2, saved()) as here:
        for replica in here.replicas:
            here.hold(replica)
        asking = await asked(here)
        [first] = [one for one in here.replicas if one.waiting]
        clock.forward(LATE_S)
        assert await eventually(lambda: here.searches == 2)
        first.free.set()
        await asking
        assert here.searches == 2
        assert here.counts.outcomes == ["lost"]


async def test_what_is_not_late_is_asked_once():
    async with stage(2, saved()) as here:
        for _ in range(20):
            await here.ask()
        assert here.searches == 20
        assert here.counts.outcomes == []


@pytest.mark.parametrize("hedging", [None, saved()])
async def test_a_replica_that_says_nothing_is_left_alone_for_a_while(hedging, clock, monkeypatch):
    """As one whose machine is out of reach: its connection is there, and nothing comes. One caller waits in vain."""
    monkeypatch.setattr(direct_shard, "SHUNNED_S", 3600.0)
    async with stage(2, hedging) as here:
        held = here.hold(here.replicas[0])
        await asked_in_vain(here, clock)
        searches = held.searches
        for _ in range(20):
            await here.ask()
        assert held.searches == searches
        assert here.fallback.searches == 0


async def test_the_only_replica_is_asked_however_long_it_says_nothing(clock):
    async with stage(1, None) as here:
        held = here.hold(here.replicas[0])
        await asked_in_vain(here, clock)
        held.free.set()
        await here.ask()
        assert held.searches == 2
        assert here.fallback.searches == 0


async def test_a_shard_of_one_replica_or_without_hedging_is_asked_once(clock):
    for n, hedging in ((1, saved()), (2, None)):
        async with stage(n, hedging) as here:
            await asked_once(here, clock)
            assert here.counts.outcomes == []


async def test_without_anything_saved_a_late_search_waits(clock):
    """All are late: then asking twice would only double the work."""
    hedging = saved()
    while hedging.spend():
        continue
    async with stage(2, hedging) as here:
        await asked_once(here, clock)


async def test_a_replica_that_refuses_does_not_spoil_the_answer_of_the_other(clock):
    async with stage(2, saved()) as here:
        first, second = here.replicas
        first.error = second.error = Unavailable("not here")
        asking = await asked_twice(here, clock)
        first.free.set()
        await asyncio.sleep(0.05)
        assert not asking.done()
        second.error = None
        second.free.set()
        await asking


async def test_a_caller_that_gives_up_leaves_no_call_behind(clock):
    async with stage(2, saved()) as here:
        asking = await asked_twice(here, clock)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.sleep(0)
        assert "Channel.call" not in {getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()}


async def test_when_both_fail_the_call_goes_the_other_way(clock):
    async with stage(2, saved()) as here:
        asking = await asked_twice(here, clock)
        await here.close()
        await asking
        assert here.fallback.searches == 2
