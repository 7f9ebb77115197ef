"""The answers of a composer on their way to the log: behind the requests, bounded, and counted where they are lost."""

from __future__ import annotations

import pytest
from redis.exceptions import RedisError

from recsys.config.serving import Serving
from recsys.config.slate_log import SlateLog
from recsys.datatypes import RecQuery
from recsys.serving.slate_writer import SlateWriter
from recsys.state import redis_keys
from recsys.state.slate_log import SlateLog as Log
from tests.support.slate_log import answer, collect, rows
from tests.support.world import event


class Counts:
    """Telemetry that adds up counters and keeps gauges."""

    def __init__(self):
        self.of = {}

    def add(self, name, amount=1.0, **labels):
        key = (name, *labels.values())
        self.of[key] = self.of.get(key, 0) + amount

    def set(self, name, value, **labels):
        self.of[(name, *labels.values())] = value

    def observe(self, name, value, **labels):
        pass

    def flush(self):
        pass


async def entries(redis):
    return [
        {name.decode(): value for name, value in fields.items()} for _, fields in await redis.xrange(redis_keys.ANSWERS)
    ]


def offered(writer, *request_ids):
    for request_id in request_ids:
        _, query, slate = answer(request_id, ["a"])
        writer.add(query, slate)


async def test_answers_over_http_are_logged_and_others_are_not(make_world, short_slots):
    """With user, scenario, version, and items in their order; a query without a request_id leaves no trace."""
    world = await make_world()
    await world.gateway.recommend(RecQuery(k=3, user_id="u"))
    slates = [await world.gateway.recommend(RecQuery(k=3, user_id=u, request_id=f"r-{u}")) for u in ("u", None)]
    slates.append(await world.gateway.search("sea wave", RecQuery(k=2, scenario="search", request_id="r-text")))
    assert len(world.gateway.answers) == 3
    await world.gateway.answers.step()
    assert not len(world.gateway.answers)
    await collect(world.redis, world.gateway.log_files)
    found = rows(world.gateway.log_files, "answers")
    assert [row["request_id"] for row in found] == ["r-u", "r-None", "r-text"]
    assert [row["scenario"] for row in found] == ["home", "home", "search"]
    assert [row["items"] for row in found] == [[item.item_id for item in slate.items] for slate in slates]
    assert [row["sources"] for row in found] == [[item.source for item in slate.items] for slate in slates]
    assert {row["version"] for row in found} == {world.follower.serve.version}
    assert [row["user"] is None for row in found] == [False, True, True]


async def test_answers_go_on_while_redis_is_away_and_are_logged_when_it_is_back(own_valkey, own_redis, make_world):
    """As far as the queue holds them. The entry that follows says how many it could not hold."""
    counts = Counts()
    serving = Serving(budget_s=20, slate_log=SlateLog(queue=3))
    world = await make_world(redis=own_redis, serving=serving, telemetry=counts)
    own_valkey.stop()
    for number in range(5):
        slate = await world.gateway.recommend(RecQuery(k=3, user_id="u", request_id=f"r{number}"))
        assert slate.items
    with pytest.raises((RedisError, OSError)):
        await world.gateway.answers.step()
    world.gateway.answers.beat()
    assert counts.of["recsys_slate_log_queue",] == 3
    own_valkey.start()
    await world.gateway.answers.step()
    [entry] = await entries(own_redis)
    assert (entry["rows"], entry["lost"]) == (b"3", b"2")
    assert counts.of["recsys_logged_slates_total", "written"] == 3
    assert counts.of["recsys_logged_slates_total", "queue_full"] == 2


async def test_a_write_whose_answer_was_lost_is_repeated_and_counts_once(redis, monkeypatch):
    """The composer cannot know whether it came through."""
    writer, write = SlateWriter(redis), Log.write

    async def unanswered(*given):
        await write(*given)
        raise ConnectionError("gone")

    offered(writer, "r1", "r2")
    with monkeypatch.context() as broken:
        broken.setattr(Log, "write", unanswered)
        with pytest.raises(ConnectionError):
            await writer.step()
    offered(writer, "r3")
    await writer.step()
    assert [entry["rows"] for entry in await entries(redis)] == [b"2", b"1"]


async def test_a_full_log_costs_answers_and_no_requests(redis):
    """They are counted here and told by the next entry."""
    counts = Counts()
    writer = SlateWriter(redis, counts)
    writer.configure(SlateLog(waiting=2))
    offered(writer, "r1", "r2", "r3")
    await writer.step()
    assert await entries(redis) == []
    assert counts.of["recsys_logged_slates_total", "log_full"] == 3
    offered(writer, "r4")
    await writer.step()
    assert [(entry["rows"], entry["lost"]) for entry in await entries(redis)] == [(b"1", b"3")]


async def test_a_composer_that_stops_writes_what_is_left(make_world, redis):
    world = await make_world()
    await world.gateway.recommend(RecQuery(k=3, request_id="r"))
    await world.gateway.stop()
    assert [entry["rows"] for entry in await entries(redis)] == [b"1"]


async def test_the_log_is_turned_off_and_on_live(make_world, redis):
    """Events are taken all the same."""
    off = Serving(budget_s=20, slate_log=SlateLog(enabled=False))
    world = await make_world(serving=off)
    gateway = world.gateway
    await gateway.recommend(RecQuery(k=3, request_id="r1"))
    named = [event("u", "sea-1", request_id="r1"), event("u", "sea-2", request_id="r1", type="impression")]
    assert (await gateway.record(named)).accepted == 2
    await gateway.answers.step()
    assert not await redis.exists(redis_keys.ANSWERS, redis_keys.OUTCOMES)
    gateway.configure(Serving(budget_s=20))
    await gateway.recommend(RecQuery(k=3, request_id="r2"))
    await gateway.record([event("u", "sea-3", request_id="r2")])
    await gateway.answers.step()
    assert await redis.xlen(redis_keys.ANSWERS) == await redis.xlen(redis_keys.OUTCOMES) == 1


async def test_an_impression_leaves_the_user_alone(make_world, redis):
    """No history, no taste, no popularity, nothing seen: the next answer and every key are as before, but the log's."""
    world = await make_world()
    gateway = world.gateway
    await gateway.record([event("u", "sea-1"), event("v", "space-1")])
    await world.counted()
    before = await gateway.recommend(RecQuery(k=20, user_id="u"))
    keys = sorted(await redis.keys("recsys:*"))
    told = [event("u", item.item_id, type="impression", request_id="r") for item in before.items]
    recorded = await gateway.record([*told, event("v", "sea-2", type="impression", request_id="r")])
    assert (recorded.accepted, recorded.unknown_items) == (len(told) + 1, ())
    after = await gateway.recommend(RecQuery(k=20, user_id="u"))
    assert [(item.item_id, item.score) for item in after.items] == [(item.item_id, item.score) for item in before.items]
    assert len(await gateway.user_records.history("u")) == 1
    new = {key.split(b":")[1] for key in await redis.keys("recsys:*") if key not in keys}
    assert new <= {b"outcomes", b"waiting", b"token"}


async def test_an_impression_that_is_configured_to_weigh_something_is_an_event_like_any_other(make_world):
    types = {**Serving().event_types}
    types["impression"] = types["impression"].model_copy(update={"kept": True, "weight": 0.1})
    world = await make_world(serving=Serving(budget_s=20, event_types=types))
    await world.gateway.record([event("u", "sea-1", type="impression", request_id="r")])
    assert len(await world.gateway.user_records.history("u")) == 1
    slate = await world.gateway.recommend(RecQuery(k=3, user_id="u"))
    assert {item.item_id.split("-")[0] for item in slate.items} == {"sea"}
