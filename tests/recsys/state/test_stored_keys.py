"""Keys read and written by type."""

from __future__ import annotations

import re
import time

from recsys.state import redis_keys
from recsys.state.stored_keys import StoredEntry, StoredKey, StoredKeys


async def test_every_type_comes_back_with_its_lifetime_under_another_prefix(redis):
    """Binary values, empty ones, exact scores, ids of streams, and the millisecond of expiry."""
    binary, until = bytes(range(256)), int(time.time() * 1000) + 5_000_123
    await redis.set("recsys:string", binary)
    await redis.set("recsys:empty", b"")
    await redis.set("recsys:expiring", b"x", pxat=until)
    await redis.rpush("recsys:list", b"b", b"a", b"b")
    await redis.sadd("recsys:set", b"b", b"a")
    await redis.hset("recsys:hash", mapping={b"f": binary, b"e": b""})
    await redis.pexpireat("recsys:hash", until)
    scores = {b"third": 0.1 + 0.2, b"first": float("-inf"), b"now": 1_760_000_000.1234567}
    await redis.zadd("recsys:zset", scores)
    one, other = StoredKeys(redis, "recsys"), StoredKeys(redis, "other")
    names = [b"string", b"empty", b"expiring", b"list", b"set", b"hash", b"zset", b"missing"]
    records = await one.read(names)
    assert [r.key for r in records] == names[:-1]
    assert {r.key: r.expires_ms for r in records if r.expires_ms} == {b"expiring": until, b"hash": until}
    await other.write(records)
    assert await other.read(names) == records
    assert dict(await redis.zrange("other:zset", 0, -1, withscores=True)) == scores
    assert await redis.lrange("other:list", 0, -1) == [b"b", b"a", b"b"]
    assert await redis.pexpiretime("other:hash") == until


async def test_a_stream_comes_back_with_its_ids_and_the_last_id_that_it_gave_out(redis):
    """Also one that was trimmed, and one that is empty: what is written next comes behind."""
    for n in range(1, 6):
        await redis.xadd("recsys:log", {"n": n, "data": bytes([n])}, id=f"{n}-{n}")
    await redis.xtrim("recsys:log", minid="3-0", approximate=False)
    await redis.xadd("recsys:emptied", {"a": 1}, id="9-1")
    await redis.xtrim("recsys:emptied", maxlen=0, approximate=False)
    await redis.execute_command("XSETID", "recsys:log", "8-0")
    one, other = StoredKeys(redis, "recsys"), StoredKeys(redis, "other")
    records = await one.read([b"log", b"emptied"])
    assert records == [StoredKey(b"log", "stream", [b"8-0", b"3"]), StoredKey(b"emptied", "stream", [b"9-1", b"0"])]
    first = await one.entries(b"log", "0-0", 2)
    assert first[0] == StoredEntry("3-3", [b"n", b"3", b"data", b"\3"])
    rest = await one.entries(b"log", first[-1].id, 100)
    await other.append(b"log", [*first, *rest])
    for record in records:
        await other.end_stream(record)
    assert await other.read([b"log", b"emptied"]) == records
    assert await redis.xrange("other:log") == await redis.xrange("recsys:log")
    assert await one.first_entry(b"log") == "3-3"
    assert await one.first_entry(b"emptied") is None


async def test_a_large_hash_is_written_in_several_commands(redis):
    keys = StoredKeys(redis, "recsys")
    fields = [b"%d" % n for n in range(60_000)]
    await keys.write([StoredKey(b"large", "hash", fields)])
    assert await redis.hlen("recsys:large") == 30_000
    assert await redis.hget("recsys:large", "59998") == b"59999"


def test_what_no_backup_has_is_in_the_table_of_keys():
    """A kind that is renamed would be backed up, unseen."""
    names = re.findall(r"^\| ([a-z· ]+?)(?::[A-Z:]+)? \|", redis_keys.__doc__, re.MULTILINE)
    kinds = {kind for name in names for kind in name.split(" · ")}
    assert kinds >= redis_keys.OF_THE_MOMENT
    assert redis_keys.kind_of(b"events:a:b") == "events"
