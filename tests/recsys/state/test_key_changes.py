"""Which keys change while they are copied."""

from __future__ import annotations

import pytest
import redis as sync_redis

from recsys.errors import RuntimeFailure
from recsys.state.connection import connect
from recsys.state.key_changes import KeyChanges
from tests.support.world import eventually


async def test_every_kind_of_change_is_named_before_the_next_drain(redis):
    """Writes, deletions, lifetimes, expiry, scripts and transactions, under the prefix and nowhere else."""
    await redis.set("recsys:gone", 1)
    await redis.set("recsys:lived", 1)
    async with KeyChanges(redis, "recsys") as changes:
        assert await changes.drain() == set()
        await redis.set("recsys:written", 1)
        await redis.set("other:written", 1)
        await redis.delete("recsys:gone")
        await redis.expire("recsys:lived", 100)
        await redis.eval("redis.call('HSET', KEYS[1], 'f', 'v')", 1, "recsys:scripted")
        async with redis.pipeline(transaction=True) as pipe:
            pipe.xadd("recsys:stream", {"a": "b"})
            pipe.zadd("recsys:zset", {"a": 1})
            await pipe.execute()
        names = {b"written", b"gone", b"lived", b"scripted", b"stream", b"zset"}
        assert await changes.drain() == {b"recsys:" + name for name in names}
        for lives_ms in (50, 500, 5000, 50_000):
            await redis.set("recsys:brief", 1, px=lives_ms)
            named = await changes.drain()
            if not await _gone(redis, "recsys:brief"):  # else one drain may have named both changes
                break
            await changes.drain()
        assert named == {b"recsys:brief"}
        assert await eventually(lambda: _gone(redis, "recsys:brief"), 120)
        assert await changes.drain() == {b"recsys:brief"}
        assert await changes.drain() == set()


async def _gone(redis, key):
    return not await redis.exists(key)


async def test_a_lost_connection_is_told(own_redis, own_valkey):
    """A change that nobody named would make a wrong copy, so nothing is drained any more."""
    async with KeyChanges(own_redis, "recsys") as changes:
        await own_redis.set("recsys:a", 1)
        own_valkey.stop()
        with pytest.raises(RuntimeFailure, match=r"broke while keys were copied|did not answer"):
            await changes.drain()


async def test_tracking_that_ends_is_told(redis):
    """The connection that owns the tracking may die alone."""
    async with KeyChanges(redis, "recsys") as changes:
        ids = {int(one["id"]) for one in await redis.client_list() if "t" in one["flags"]}
        for one in ids:
            await redis.client_kill_filter(_id=one)
        with pytest.raises(RuntimeFailure, match="start the same again"):
            await changes.drain()


async def test_everything_deleted_is_told(redis):
    async with KeyChanges(redis, "recsys") as changes:
        await redis.flushall()
        with pytest.raises(RuntimeFailure, match="all keys of Redis were deleted"):
            await changes.drain()


async def test_a_user_who_may_not_listen_is_told_what_to_allow(own_valkey):
    with sync_redis.Redis.from_url(own_valkey.url) as admin:
        admin.execute_command("ACL", "SETUSER", "narrow", "on", ">p", "~recsys:*", "resetchannels", "+@all")
    client = connect(own_valkey.url.replace("unix://", "unix://narrow:p@"), timeout_s=20)
    with pytest.raises(RuntimeFailure, match="the channel __redis__:invalidate"):
        async with KeyChanges(client, "recsys"):
            pass
    await client.aclose()
