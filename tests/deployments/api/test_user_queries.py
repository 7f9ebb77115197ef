"""A query string that is read once means the same the next time, for whichever user, and is read anew with settings."""

from __future__ import annotations

from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from deployments.api import parameters
from deployments.api.parsing import id_adapter, path_id
from deployments.api.user_queries import UserQueries
from recsys.config.serving import Limits, Serving
from recsys.errors import BadInput
from tests.support.world import catalogue

EVENTS = b"events=%5B%7B%22item_id%22%3A%22sea-1%22%2C%22type%22%3A%22like%22%7D%5D"


@pytest.fixture
async def world(make_world):
    return await make_world(shards=1, items=catalogue(4))


async def test_each_request_has_its_own_user_moment_and_id(world):
    queries = UserQueries(world.gateway)
    first, wishes = queries.of("a", b"k=3&include_seen=true", 1.0, "r1")
    second, same = queries.of("b%20c", b"k=3&include_seen=true", 2.0, "r2")
    assert (first.user_id, first.since, first.request_id) == ("a", 1.0, "r1")
    assert (second.user_id, second.since, second.request_id) == ("b c", 2.0, "r2")
    assert (first.k, first.include_seen, second.k, second.include_seen) == (3, True, 3, True)
    assert wishes == same
    assert UserQueries(world.gateway).of("b%20c", b"k=3&include_seen=true", 2.0, "r2")[0] == second


async def test_settings_that_change_count_for_the_next_request(world):
    queries = UserQueries(world.gateway)
    assert queries.of("a", b"k=30", 1.0, "r1")[0].k == 30
    world.gateway.configure(Serving(limits=Limits(k=20)))
    with pytest.raises(BadInput, match="limit of 20"):
        queries.of("a", b"k=30", 1.0, "r2")
    world.gateway.configure(Serving())
    assert queries.of("a", b"k=30", 1.0, "r3")[0].k == 30


async def test_what_is_refused_once_is_refused_again(world):
    queries = UserQueries(world.gateway)
    for _ in range(3):
        with pytest.raises(BadInput, match="k"):
            queries.of("a", b"k=0", 1.0, "r1")


async def test_events_without_a_time_have_that_of_their_request(world, monkeypatch):
    """So a query string with events is read each time."""
    queries = UserQueries(world.gateway)
    for now in (1_700_000_000.0, 1_700_000_060.0):
        monkeypatch.setattr(parameters, "time", SimpleNamespace(time=lambda now=now: now))
        [event] = queries.of("a", EVENTS, 1.0, "r1")[0].basket
        assert (event.item_id, event.timestamp) == ("sea-1", now)


@pytest.mark.parametrize(
    "part", ["1", "u-1_B", "a" * 64, "a" * 65, "a" * 128, "%41", "a%2Db", "caf%C3%A9", "-", "~", "a.b"]
)
def test_plain_ids_are_taken_as_the_validator_takes_them(part: str) -> None:
    assert path_id(part, "user_id", id_adapter()) == id_adapter().validate_python(unquote(part))
