"""Requests that wait while a batch is under way leave together as the next one.

There is no timer: an idle system sends a single request at once, a busy one sends larger batches. Beside a flight in
the air another leaves when it carries its even share of all requests: so they stay of one size, and one batch is
prepared while the other is searched. (When a free flight took what was there, batches of one and of fifty took turns.)
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from recsys.errors import Overloaded

T = TypeVar("T")
R = TypeVar("R")


class Coalescer(Generic[T, R]):
    """`fn` takes a list of requests and returns as many results, in order.

    A result that is an exception is raised to its own caller; when `fn` raises, every caller of that batch gets it.
    Raises Overloaded at `submit` when `max_waiting` requests are waiting.
    """

    def __init__(
        self,
        fn: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_batch: int,
        max_in_flight: int,
        max_waiting: int = 10_000,
    ) -> None:
        self._fn = fn
        self.max_batch = max_batch
        self.max_in_flight = max_in_flight
        self.max_waiting = max_waiting
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._flights: dict[asyncio.Task[None], int] = {}
        """Requests of each flight in the air."""
        self._boarding = False

    def __len__(self) -> int:
        """Requests that wait for a flight."""
        return len(self._waiting)

    async def submit(self, request: T) -> R:
        if len(self._waiting) >= self.max_waiting:
            raise Overloaded(f"{self.max_waiting} requests are waiting already; try again in a second")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._board()
        return await future

    def _board(self) -> None:
        """Depart after the requests that are being read at this moment: they come in one turn of the event loop."""
        if not self._boarding:
            self._boarding = True
            asyncio.get_running_loop().call_soon(self._depart)

    def _depart(self) -> None:
        self._boarding = False
        while self._waiting and len(self._flights) < self.max_in_flight:
            share = math.ceil((len(self._waiting) + sum(self._flights.values())) / self.max_in_flight)
            if self._flights and len(self._waiting) < min(share, self.max_batch):
                return
            batch: list[tuple[T, asyncio.Future[R]]] = []
            while self._waiting and len(batch) < min(share, self.max_batch):
                request, future = self._waiting.popleft()
                if not future.done():  # its caller has gone
                    batch.append((request, future))
            if batch:
                flight = asyncio.get_running_loop().create_task(self._fly(batch))
                self._flights[flight] = len(batch)
                flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        del self._flights[flight]
        self._board()

    async def _fly(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._fn([request for request, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(  # noqa: TRY301 - the callers of this batch are told below
                    f"{len(batch)} requests went out and {len(results)} results came back"
                )
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
