"""Bulk calls, several under way at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.cli.bulk_calls import BULK, CONCURRENT, Answer, BulkCalls, bulks
from recsys.data.records import EventIn
from recsys.errors import RuntimeFailure


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(CONCURRENT) as pool:
        yield pool


def event(number: int, user: str, at: float) -> EventIn:
    return EventIn(event_id=f"e{number}", user_id=user, item_id="i", type="like", timestamp=at)


@given(st.lists(st.integers(0, 40), max_size=3 * BULK))
def test_bulks_hold_each_event_once_and_users_together(users: list[int]) -> None:
    """Nothing is lost, no bulk is too large, and a user is in one bulk unless that is too small for him."""
    events = [event(n, f"u{user}", 1000.0 - n % 7) for n, user in enumerate(users)]
    made = list(bulks(events, attrgetter("user_id"), grouped=True))
    assert sorted(e.event_id for bulk in made for e in bulk) == sorted(e.event_id for e in events)
    assert all(0 < len(bulk) <= BULK for bulk in made)
    for user in set(users):
        parts = [[e for e in bulk if e.user_id == f"u{user}"] for bulk in made]
        theirs = [part for part in parts if part]
        assert len(theirs) == 1 or users.count(user) + max(map(len, made)) > BULK
        times = [e.timestamp for part in theirs for e in part]
        assert times == sorted(times)


def test_as_many_calls_are_under_way_as_there_may_be(pool: ThreadPoolExecutor) -> None:
    together = threading.Barrier(CONCURRENT, timeout=20)

    def post(records: Sequence[Any]) -> Answer:
        together.wait()
        return {"refused_count": 0, "of": records}

    calls = BulkCalls(post, pool)
    answered = [one for n in range(2 * CONCURRENT) for one in calls.start([n], {f"u{n}"})]
    answered += calls.finish()
    assert [records for records, _ in answered] == [[n] for n in range(2 * CONCURRENT)]
    assert all(answer["of"] == records for records, answer in answered)


def test_what_concerns_one_owner_is_sent_in_its_order(pool: ThreadPoolExecutor) -> None:
    """A later row about an item is not overtaken by an earlier one."""
    under_way: set[str] = set()
    order: list[int] = []

    def post(records: Sequence[Any]) -> Answer:
        owner = f"i{records[0] % 2}"
        assert owner not in under_way
        under_way.add(owner)
        order.append(records[0])
        under_way.remove(owner)
        return {}

    calls = BulkCalls(post, pool)
    for n in range(40):
        calls.start([n], {f"i{n % 2}"})
    calls.finish()
    assert [n for n in order if n % 2] == list(range(1, 40, 2))
    assert [n for n in order if n % 2 == 0] == list(range(0, 40, 2))


def test_what_a_call_raises_is_raised(pool: ThreadPoolExecutor) -> None:
    def post(_records: Sequence[Any]) -> Answer:
        raise RuntimeFailure("does not answer")

    calls = BulkCalls(post, pool)
    calls.start([1], {"u"})
    with pytest.raises(RuntimeFailure, match="does not answer"):
        calls.finish()
