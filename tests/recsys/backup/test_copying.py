"""A copy of one moment, while writes go on."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import redis as sync_redis

from recsys.backup import copying
from recsys.backup.copying import Copying
from recsys.backup.spool import Spool
from recsys.errors import RuntimeFailure
from recsys.state.connection import connect
from tests.support.world import eventually

ACCOUNTS = 200
MOVE = """
-- Takes one from an account and gives it to another; every move is in the log, and counted.
redis.call('HINCRBY', KEYS[1], 'sum', -1)
redis.call('INCR', KEYS[2])
redis.call('XADD', KEYS[3], '*', 'from', KEYS[1], 'to', KEYS[2])
return redis.call('INCR', KEYS[4])
"""


async def moves(url: str, pause_s: float) -> None:
    """Until it is cancelled."""
    async with connect(url, timeout_s=20) as client:
        move = client.register_script(MOVE)
        number = 0
        while True:
            number += 1
            one, other = number * 7 % ACCOUNTS, number * 13 % ACCOUNTS
            await move(keys=[f"recsys:h:{one}", f"recsys:s:{other}", "recsys:log:0", "recsys:moves"])
            if number > 1000:
                await asyncio.sleep(pause_s)
            if number % 500 == 0:
                await client.xtrim("recsys:log:0", maxlen=300, approximate=False)


def balance(spool: Spool) -> tuple[int, int, int]:
    """All accounts together; moves; moves that the log ends with."""
    hashes = sum(int(record.value[1]) for record in spool.records(b"h:"))
    strings = sum(int(record.value) for record in spool.records(b"s:"))
    entries = list(spool.entries(b"log:0"))
    assert len(entries) == int(spool.get(b"log:0").value[1])
    assert entries[-1].id.encode() == spool.get(b"log:0").value[0]
    return hashes + strings, int(spool.get(b"moves").value), int(strings)


async def _moved(client, least):
    return int(await client.get("recsys:moves") or 0) >= least


@pytest.mark.parametrize(("rights", "pause_s"), [("+@all", 0.0), ("+@all -client|pause", 0.02)])
async def test_a_copy_under_load_is_of_one_moment(own_valkey, tmp_path, rights, pause_s):
    """With writes paused, and where this user may not pause them: nothing is half done in the copy."""
    with sync_redis.Redis.from_url(own_valkey.url) as admin:
        admin.execute_command("ACL", "SETUSER", "copier", "on", ">p", "~*", "&*", *rights.split())
    url = own_valkey.url.replace("unix://", "unix://copier:p@")
    async with connect(url, timeout_s=20) as client:
        await client.mset({f"recsys:filler:{n}": n for n in range(5000)})
        writers = [asyncio.create_task(moves(own_valkey.url, pause_s)) for _ in range(2)]
        assert await eventually(lambda: _moved(client, 2000))
        with Spool(tmp_path / "keys") as spool:
            copy = Copying(client, "recsys", spool, lambda kind: kind != "left")
            await client.set("recsys:left:out", 1)
            async with copy.tracked():
                await copy.sweep(lambda *_: None)
                for _ in range(3):
                    moment = await copy.moment()
                    total, moved, given = balance(spool)
                    assert total == 0
                    assert moved == given >= 1000
                    assert moment.keys == sum(1 for _ in spool.records())
                    assert spool.get(b"left:out") is None
        assert await eventually(lambda: _moved(client, moved + 1))  # the writers are at work all the time
        for writer in writers:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer


async def test_what_is_deleted_or_expires_meanwhile_is_not_in_the_copy(redis, tmp_path):
    await redis.set("recsys:a:gone", 1)
    await redis.set("recsys:a:stays", 1)
    await redis.set("recsys:a:brief", 1, px=30)
    with Spool(tmp_path / "keys") as spool:
        copy = Copying(redis, "recsys", spool, lambda _kind: True)
        async with copy.tracked():
            await copy.sweep(lambda *_: None)
            await redis.delete("recsys:a:gone")
            await redis.set("recsys:a:new", 2)
            await asyncio.sleep(0.05)
            await copy.moment()
        assert [(r.key, r.value) for r in spool.records()] == [(b"a:new", b"2"), (b"a:stays", b"1")]


async def test_writes_that_leave_no_moment_are_told(own_valkey, tmp_path, monkeypatch):
    """Without the right to pause them, and within the time that there is."""
    monkeypatch.setattr(copying, "WITHIN_S", 0.0)
    async with connect(own_valkey.url, timeout_s=20) as client:
        with Spool(tmp_path / "keys") as spool:
            copy = Copying(client, "recsys", spool, lambda _kind: True)
            async with copy.tracked():
                with pytest.raises(RuntimeFailure, match="allow this user CLIENT PAUSE"):
                    await copy.moment()


async def test_writes_go_on_after_the_pause(redis, tmp_path, monkeypatch):
    """It is ended, and not waited for."""
    monkeypatch.setattr(copying, "PAUSE_MS", 600_000)
    with Spool(tmp_path / "keys") as spool:
        copy = Copying(redis, "recsys", spool, lambda _kind: True)
        async with copy.tracked():
            await copy.moment()
            async with asyncio.timeout(60):
                await redis.set("recsys:a", 1)
