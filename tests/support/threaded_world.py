"""A World in a thread of its own, for tests whose examples hypothesis draws: those are no coroutines.

It outlives a test, so it has a Valkey of its own as well: two platforms in one take each other's replicas for theirs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from recsys.state.connection import connect
from tests.support.own_valkey import Valkey
from tests.support.world import World

R = TypeVar("R")


class ThreadedWorld:
    def __init__(self, root: Path, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="world", daemon=True)
        self._given = {"root": root, **options}
        self._valkey = Valkey()

    def run(self, work: Coroutine[Any, Any, R]) -> R:
        """What the coroutine returns, or raises, in the world's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    def __enter__(self) -> Self:
        self._valkey.start()
        self._thread.start()
        self.run(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._valkey.remove()

    async def _start(self) -> None:
        self._redis = connect(self._valkey.url, timeout_s=20)
        self.world = await World(redis=self._redis, **self._given).__aenter__()

    async def _stop(self) -> None:
        await self.world.__aexit__(None, None, None)
        await self._redis.aclose()
