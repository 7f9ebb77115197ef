"""Two platforms on one Redis, each under its prefix."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from redis.asyncio import Redis

from recsys.config.platform import Platform
from recsys.datatypes import Item, RecQuery
from recsys.errors import NotFound
from recsys.state import redis_keys
from recsys.state.connection import connect
from recsys.state.membership import ShardMember
from recsys.state.users import UserStore
from tests.support.world import World, catalogue, event, eventually

ROOT = Path(redis_keys.__file__).parents[2]
ODD = ["recsys:events:u", "likes", "{a}", "other:log:0", "a b:*"]
"""Ids that look like keys: a prefix must not change them, nor be fooled by them."""


@pytest.fixture
async def two(shared_valkey, redis) -> AsyncIterator[tuple[Redis, Redis]]:
    """Clients of one empty database with two prefixes."""
    clients = [connect(shared_valkey.url, timeout_s=20, prefix=name) for name in ("shop", "shop-2")]
    yield clients[0], clients[1]
    for client in clients:
        await client.aclose()


async def histories(world: World) -> dict[str, list[str]]:
    """Item ids of all events, by user."""
    store = UserStore(world.redis, ttl_s=60, history=100)
    found: dict[str, list[str]] = {}
    async for _, page in store.everyone():
        for history in page:
            found[history[0].user_id] = [e.item_id for e in history]
    return found


async def test_two_platforms_on_one_redis_do_not_see_each_other(two, redis, tmp_path, make_world):
    """Members, events, popularity, items, drift and erasure of one are nothing to the other."""
    one = await make_world(redis=two[0], root=tmp_path / "one", items=catalogue(3))
    other = await make_world(redis=two[1], root=tmp_path / "other", items=catalogue(4), shards=3)
    for user in ODD:
        await one.gateway.record([event(user, "sea-0"), event(user, "sea-1")])
    await other.gateway.record([event(ODD[0], "forest-3")])
    [written] = await one.gateway.items.upsert([Item("sea-new", "sea wave", "wave", {}, None)], wait_visible=True)
    assert written.visible
    await eventually(lambda: len(other.follower.members.all) >= 3)

    assert await histories(one) == {user: ["sea-0", "sea-1"] for user in ODD}
    assert await histories(other) == {ODD[0]: ["forest-3"]}
    assert len([m for m in one.follower.members.all if isinstance(m, ShardMember)]) == 2
    assert len([m for m in other.follower.members.all if isinstance(m, ShardMember)]) == 3
    assert (await one.gateway.items.item("sea-new")).title == "sea wave"
    with pytest.raises(NotFound):
        await other.gateway.items.item("sea-new")
    for world, topic in ((one, "sea"), (other, "forest")):
        slate = await world.gateway.recommend(RecQuery(k=1, user_id=ODD[0], diversity=0.0))
        assert {item.item_id.partition("-")[0] for item in slate.items} == {topic}
    assert await one.gateway.user_records.erase(ODD[0]) == 2
    assert await histories(other) == {ODD[0]: ["forest-3"]}

    whole = [key.decode() async for key in redis.scan_iter()]
    assert {key.partition(":")[0] for key in whole} == {"shop", "shop-2"}


def made(make: Callable[..., Any]) -> list[Any]:
    """The key or keys that a function of keys.py makes of invented arguments."""
    parameters = inspect.signature(make).parameters
    given = [0 if "int" in str(p.annotation) else "x" for p in parameters.values()]
    answer = make(*given)
    return answer if isinstance(answer, (list, tuple)) else [answer]


def test_every_key_is_one_that_gets_a_prefix() -> None:
    """A plain string would be sent as it is, and two platforms would meet there."""
    constants = [value for name, value in vars(redis_keys).items() if name.isupper() and name != "DEFAULT_PREFIX"]
    functions = [f for f in vars(redis_keys).values() if inspect.isfunction(f) and f.__module__ == redis_keys.__name__]
    functions = [one for one in functions if one not in (redis_keys.user_of, redis_keys.kind_of)]
    constants.remove(redis_keys.OF_THE_MOMENT)  # names of kinds, which no command takes
    assert constants
    assert functions
    for key in [*constants, *(key for make in functions for key in made(make))]:
        assert type(key) is redis_keys.Key, key
        assert not key.startswith(redis_keys.DEFAULT_PREFIX), key


@cache
def sources() -> tuple[list[tuple[Path, ast.Constant]], list[tuple[Path, ast.Call]]]:
    """Strings that begin with the default prefix, and calls of `connect`, with the file of each."""
    keys, calls = [], []
    for file in [*(ROOT / "recsys").rglob("*.py"), *(ROOT / "deployments").rglob("*.py")]:
        text = file.read_text()
        if "recsys:" not in text and "connect(" not in text:
            continue  # parsing takes a second for all of them
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("recsys:"):
                keys.append((file, node))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "connect":
                calls.append((file, node))
    return keys, calls


def test_no_key_is_written_out_elsewhere() -> None:
    for file, node in sources()[0]:
        assert "\n" in node.value or node.value.startswith("recsys: "), (file, node.lineno)


def test_every_client_of_the_platform_has_its_prefix() -> None:
    """A call of `connect` without one would read and write under the default."""
    _, calls = sources()
    for file, node in calls:
        assert "prefix" in {keyword.arg for keyword in node.keywords}, (file, node.lineno)
    assert calls


@pytest.mark.parametrize("prefix", ["", "a:b", "a*", "ü", "a b", "x" * 65])
def test_a_prefix_that_could_be_mistaken_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match="redis_prefix"):
        Platform(redis_prefix=prefix)


def kind(key: str) -> str:
    return key.partition(":")[0]


def kinds() -> set[str]:
    """The first part of every key."""
    functions = [f for f in vars(redis_keys).values() if inspect.isfunction(f) and f.__module__ == redis_keys.__name__]
    functions = [one for one in functions if one not in (redis_keys.user_of, redis_keys.kind_of)]
    constants = [value for value in vars(redis_keys).values() if type(value) is redis_keys.Key]
    return {kind(key) for key in [*constants, *(key for make in functions for key in made(make))]}


def documented() -> dict[str, str]:
    """Kind of key -> its bound or lifetime, as docs/operations.md has them."""
    text = (ROOT / "docs" / "operations.md").read_text().partition("### What lies in Redis")[2]
    rows = [
        line.strip().strip("|").split("|") for line in text.partition("\n## ")[0].splitlines() if line.startswith("| `")
    ]
    return {kind(name): row[2] for row in rows for name in re.findall(r"`([a-z]+):?[A-Z:]*`", row[0])}


def test_every_key_is_listed_with_its_bound() -> None:
    """An operator has to know what grows."""
    assert documented().keys() == kinds()
    assert all(bound.strip() for bound in documented().values())


BOUNDED = {
    "sequences", "log", "trimmed", "reencoders", "reencoded", "rebuild", "retraining", "members", "heard", "changed",
    "settings", "secret", "touched", "tickets", "answers", "outcomes", "waiting",
    "scenarios", "experiments", "canary", "windows", "layouts",
}  # fmt: skip
"""Kinds without a lifetime, each bounded by the number of shards, replicas or deployments, or by trimming."""


async def test_what_is_not_bounded_has_a_lifetime(make_world, redis):
    """Users, items that do not exist and items that are deleted leave nothing in Redis that stays."""
    world = await make_world()
    for user in ODD:
        await world.gateway.record([event(user, "sea-0"), event(user, "no-such-item", type="view")])
    await world.gateway.recommend(RecQuery(k=3, user_id=ODD[0], request_id="r"))
    await world.gateway.record([event("v", "sea-0", request_id="r", type=kind) for kind in ("click", "impression")])
    await world.gateway.answers.step()
    await world.gateway.items.upsert([Item("sea-new", "sea wave", "wave", {}, None)], wait_visible=True, version=7)
    await world.gateway.record([event("v", "sea-new")])
    await world.gateway.items.delete("sea-new", wait_visible=True)
    await world.gateway.user_records.erase(ODD[1])
    found = [key async for key in redis.scan_iter()]
    assert len(found) > 20
    stays = {key.decode() for key in found if await redis.ttl(key) == -1}
    assert {kind(key.removeprefix("recsys:")) for key in stays} <= BOUNDED, stays
