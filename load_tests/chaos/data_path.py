"""Faults of what the data goes through: Redis, the versions, the log of changes, the clocks."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from load_tests.chaos.servers import ObjectStore, Sentinels
from load_tests.chaos.stage import FaultFailed, Stage, eventually, takes_writes

_REFUSES_S = 8.0
"""Longer than a replica that says nothing counts as there, twelve seconds with the second half."""
_AWAY_S = 30.0
_LONG_USERS, _LONG_HISTORY, _PAGE = 64, 1000, 500
_WARM_WITHIN_S = 60.0
_SKEW_S = 70
_FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


def redis_read_only(stage: Stage) -> None:
    """As after a failover: writes are refused, reads go on. A version is promoted meanwhile."""
    second = stage.another_version()
    with stage.redis() as redis:
        redis.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            _promoted_meanwhile(stage, second)
        finally:
            redis.execute_command("REPLICAOF", "NO", "ONE")
    _serves_in_the_end(stage, second)


def redis_full(stage: Stage) -> None:
    """Over its maxmemory, without eviction: what takes memory is refused. A version is promoted meanwhile."""
    second = stage.another_version()
    with stage.redis() as redis:
        redis.config_set("maxmemory", "1")
        try:
            _promoted_meanwhile(stage, second)
        finally:
            redis.config_set("maxmemory", "0")
    _serves_in_the_end(stage, second)


def unloadable_version(stage: Stage) -> None:
    """CURRENT names a version that composers cannot open, then one that shards cannot load, past all checks of
    `promote`. A composer and a replica die and must come back with the version before.
    """
    live = stage.status()["index_version"]
    root = stage.home / "versions"
    current = (root / "CURRENT").read_bytes()
    for harm in (_without_its_ranker, _with_other_vectors):
        bad = stage.another_version()
        harm(root / bad)
        (root / "CURRENT").write_text(json.dumps({"version": bad, "previous": [live]}))
        time.sleep(_REFUSES_S)
        stage.replicas("Composer")[0].kill()
        stage.replicas("shard-0")[0].kill()
        if not eventually(stage.whole, 60):
            raise FaultFailed("a composer and a replica that died did not come back beside an unloadable version")
        if not stage.serves(live):
            raise FaultFailed("another version than the last good one is served")
        (root / "CURRENT").write_bytes(current)
        shutil.rmtree(root / bad)


def stale_profiles(stage: Stage) -> None:
    """Users with full histories read all the time while another version makes all of their profiles stale."""
    users = [f"long-{n}" for n in range(_LONG_USERS)]
    _write_histories(stage, users)
    second = stage.another_version()
    with _reading(stage, users) as degraded:
        if not eventually(lambda: not degraded(), _WARM_WITHIN_S):
            raise FaultFailed("profiles are not warm before the promotion")
        stage.recsys("promote", second)
        if not eventually(lambda: stage.serves(second), 60):
            raise FaultFailed(f"{second} was promoted and is not served after a minute")
        if not eventually(lambda: not degraded(), _WARM_WITHIN_S):
            raise FaultFailed(f"profiles are not warm {_WARM_WITHIN_S:.0f} s after a promotion")


def log_rewound(stage: Stage) -> None:
    """Valkey loses the tail of its file, as after a power failure: what was acknowledged since may be lost, and only
    that; replicas must not keep what others lack, and a version promoted afterwards must come to be served.
    """
    second = stage.another_version()
    folder, copy = stage.home / "valkey", stage.folder / "valkey-before"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    since = time.monotonic()
    time.sleep(3)
    stage.processes("valkey")[0].kill()
    time.sleep(0.5)
    shutil.rmtree(folder)
    copy.rename(folder)
    stage.ledger.forgive(since)
    stage.start_valkey()
    stage.recsys("promote", second)
    _serves_in_the_end(stage, second)


def clocks_apart(stage: Stage) -> None:
    """Replicas of one shard go by a clock that is ahead of the others'. A version is promoted meanwhile."""
    if not _FAKETIME.exists():
        raise FaultFailed(f"{_FAKETIME} is not there; on Debian: apt-get install libfaketime")
    second = stage.another_version()
    ahead = {"env_vars": {"LD_PRELOAD": str(_FAKETIME), "FAKETIME": f"+{_SKEW_S}s", "DONT_FAKE_MONOTONIC": "1"}}
    stage.with_environment("shard-1", ahead)
    try:
        if not eventually(lambda: _ahead(stage) and stage.whole(), 120):
            raise FaultFailed("replicas with a clock of their own are not there after two minutes")
        stage.recsys("promote", second)
        _serves_in_the_end(stage, second)
    finally:
        stage.with_environment("shard-1", {})


def primary_lost(stage: Stage) -> None:
    """The primary ends; Sentinels make its replica the primary, and it comes back as that one's replica."""
    servers = stage.servers
    assert isinstance(servers, Sentinels)
    since = time.monotonic() - 1.0  # replication is asynchronous: what did not arrive may be lost
    servers.kill_primary()
    stage.ledger.forgive(since)
    if not eventually(lambda: takes_writes(stage.url), 60):
        raise FaultFailed("no write was taken for a minute after the primary was lost")
    servers.restart_old_primary()


def object_store_away(stage: Stage) -> None:
    """Connections to the versions' store are refused, then taken and not answered, for half of the time each."""
    servers = stage.servers
    assert isinstance(servers, ObjectStore)
    servers.away(_AWAY_S / 2)
    servers.hang(_AWAY_S / 2)
    second = stage.another_version()
    stage.recsys("promote", second)
    _serves_in_the_end(stage, second)


def _ahead(stage: Stage) -> bool:
    """Whether all replicas of the shard were started with the other clock."""
    return all("FAKETIME" in process.environ() for process in stage.replicas("shard-1"))


def _promoted_meanwhile(stage: Stage, version: str) -> None:
    """Through the store itself, as an unattended rebuild on another machine would; then for as long as silence counts
    as absence, twice.
    """
    time.sleep(_REFUSES_S)
    stage.store().promote(version)
    time.sleep(2 * _REFUSES_S)


def _serves_in_the_end(stage: Stage, version: str) -> None:
    if not eventually(lambda: stage.serves(version), 60):
        raise FaultFailed(f"{version} was promoted and is not served a minute after the fault")


def _without_its_ranker(version: Path) -> None:
    manifest = json.loads((version / "manifest.json").read_text())
    manifest["ranker_sha256"] = "0" * 64
    (version / "manifest.json").write_text(json.dumps(manifest))


def _with_other_vectors(version: Path) -> None:
    path = version / "shard-0" / "vectors.npy"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _write_histories(stage: Stage, users: list[str]) -> None:
    with httpx.Client(base_url=stage.url, timeout=60, trust_env=False) as http:
        for user in users:
            for start in range(0, _LONG_HISTORY, _PAGE):
                events = [
                    {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": str(n % 1500 + 1), "type": "like"}
                    for n in range(start, start + _PAGE)
                ]
                http.post("/v1/events", json={"events": events}).raise_for_status()


@contextmanager
def _reading(stage: Stage, users: list[str]) -> Iterator[Callable[[], list[str]]]:
    """Eight readers of these users. Yields what says which of them lacked something in their newest answer."""
    newest: dict[str, list[str]] = {user: ["not answered yet"] for user in users}
    over = threading.Event()

    def read(mine: list[str]) -> None:
        with httpx.Client(base_url=stage.url, timeout=10, trust_env=False) as http:
            while not over.is_set():
                for user in mine:
                    try:
                        answer = http.get(f"/v1/users/{user}/recommendations")
                        newest[user] = answer.json()["degraded"] if answer.status_code == 200 else [answer.text]
                    except httpx.HTTPError as error:
                        newest[user] = [repr(error)]

    readers = [threading.Thread(target=read, args=(users[start::8],)) for start in range(8)]
    for reader in readers:
        reader.start()
    try:
        yield lambda: [user for user, lacks in newest.items() if lacks]
    finally:
        over.set()
        for reader in readers:
            reader.join()


Fault = Callable[[Stage], None]
DATA_PATH: dict[str, Fault] = {
    "Redis read-only": redis_read_only,
    "Redis full": redis_full,
    "unloadable version": unloadable_version,
    "profiles stale": stale_profiles,
    "log rewound": log_rewound,
    "clocks apart": clocks_apart,
}
ELSEWHERE: dict[str, tuple[Callable[[Path], Any], Fault]] = {
    "primary lost behind Sentinel": (Sentinels, primary_lost),
    "object store away": (ObjectStore, object_store_away),
}
"""Faults of platforms with other servers beside them: those servers, given a folder, and the fault."""
