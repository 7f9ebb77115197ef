"""Requests that wait while a batch is under way leave together as the next batch.

There is no timer: an idle system sends a single request at once, a busy one sends larger batches. While one flight is
in the air, another leaves when it carries its even share of all requests. So flights stay of one size, and one batch is
prepared while the other is searched. (When a free flight took all that waited, batches of one and of fifty took turns.)
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from recsys.errors import CallerGone, Overloaded

T = TypeVar("T")
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

_SWEEP_S = 0.05
"""Seconds between two searches of a full queue for callers that have gone."""


class Caller:
    """The one who waits for an answer."""

    __slots__ = ("since",)

    def __init__(self, since: float | None = None) -> None:
        self.since = time.monotonic() if since is None else since
        """When the request came, by time.monotonic(). That may be long before it was read."""

    @property
    def gone(self) -> bool:
        """Whether the caller waits no longer."""
        return False


class Reply(Protocol[R_contra]):
    """Where the result of a request goes. A future is one. Its methods do not raise."""

    def done(self) -> bool: ...
    def set_result(self, result: R_contra, /) -> None: ...
    def set_exception(self, exception: BaseException, /) -> None: ...


_Waiting = tuple[T, "Reply[R]", Caller, float]
"""Request, where its result goes, the caller, and when it came to the coalescer, by time.monotonic()."""


class Flight(msgspec.Struct, frozen=True):
    """A batch that has landed."""

    requests: int
    waited_s: float
    """Seconds that its oldest request waited."""
    took_s: float


class Coalescer(Generic[T, R]):
    """`fn` takes a list of requests and returns as many results, in order.

    A result that is an exception is raised to its own caller. When `fn` raises, every caller of the batch gets it.

    `submit` raises Overloaded when `max_waiting` requests are waiting, or one has waited for `max_wait_s` seconds: the
    answer would come too late, and the work for it would make all others late as well. `refused` counts these.
    Requests whose caller has gone, or has waited for `budget_s` seconds, never leave. These callers get CallerGone and
    Overloaded, and `given_up` counts them as `gone` and `late`. `answered` is called with the results of each batch,
    behind the replies to its callers, and `landed` after every batch.
    """

    def __init__(
        self,
        fn: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_batch: int,
        max_in_flight: int,
        max_waiting: int = 10_000,
        max_wait_s: float = math.inf,
        budget_s: float = math.inf,
        landed: Callable[[Flight], None] = lambda _: None,
        answered: Callable[[Sequence[R | Exception]], None] = lambda _: None,
    ) -> None:
        self._fn = fn
        self.max_batch = max_batch
        self.max_in_flight = max_in_flight
        self.max_waiting = max_waiting
        self.max_wait_s = max_wait_s
        self.budget_s = budget_s
        self.given_up: Counter[str] = Counter()
        self.refused = 0
        self._tell = landed
        self._answered = answered
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._swept = 0.0
        self._flights: dict[int, asyncio.Task[None]] = {}
        """By number, those in the air, and the first one from when it boards: the event loop keeps no task alive."""
        self._numbers = 0
        self._flying = 0
        """Flights in the air."""
        self._aboard = 0
        """Requests of all flights in the air."""
        self._boarding = False

    def __len__(self) -> int:
        """Requests that wait for a flight."""
        return len(self._waiting)

    @property
    def oldest_s(self) -> float:
        """Seconds that the oldest waiting request has waited; 0.0 when none waits."""
        self._drop_over()
        return time.monotonic() - self._waiting[0][2].since if self._waiting else 0.0

    def _wait_s(self, caller: Caller, now: float) -> float:
        """Seconds that the oldest request has waited here, and outside, but there no longer than this caller: a single
        request that was long on its way says nothing of the others.
        """
        self._drop_over()
        if not self._waiting:
            return 0.0
        _, _, oldest, came = self._waiting[0]
        return now - came + min(came - oldest.since, now - caller.since)

    def _drop_over(self) -> None:
        while self._waiting and self._over(*self._waiting[0][1:3]):
            self._waiting.popleft()

    async def submit(self, request: T, caller: Caller | None = None) -> R:
        """Wait for the result. `caller` None: one that came at this moment and stays.

        Raises Overloaded and CallerGone, see the class, and what the request's own result or batch raises.
        """
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self.enqueue(request, future, caller or Caller())
        return await future

    def enqueue(self, request: T, reply: Reply[R], caller: Caller) -> None:
        """Give the result to `reply` in the turn of the event loop in which it is there: no task has to wait for it.

        Raises Overloaded where the request has no place.
        """
        if len(self._waiting) >= self.max_waiting and not self._swept_room():
            self.refused += 1
            raise Overloaded(f"{self.max_waiting} requests are waiting already; try again in a second")
        now = time.monotonic()
        if (
            self._waiting
            and now - self._waiting[0][2].since > self.max_wait_s  # a first look: this is the hot path
            and (wait_s := self._wait_s(caller, now)) > self.max_wait_s
        ):
            self.refused += 1
            raise Overloaded(f"requests have to wait for {wait_s:.1f} s already; try again in a second")
        self._waiting.append((request, reply, caller, now))
        self._board()

    def _over(self, reply: Reply[R], caller: Caller) -> bool:
        """Whether the request needs no answer any more. Its caller is told why."""
        if reply.done():
            return True
        if caller.gone:
            self.given_up["gone"] += 1
            reply.set_exception(CallerGone("the caller has gone"))
        elif (waited_s := time.monotonic() - caller.since) > self.budget_s:
            self.given_up["late"] += 1
            reply.set_exception(Overloaded(f"the request waited for {waited_s:.1f} s; try again in a second"))
        else:
            return False
        return True

    def _swept_room(self) -> bool:
        """Drop requests without a caller from a full queue. Return whether there is room then."""
        if time.monotonic() - self._swept > _SWEEP_S:
            self._swept = time.monotonic()
            self._waiting = deque(one for one in self._waiting if not self._over(*one[1:3]))
        return len(self._waiting) < self.max_waiting

    def _board(self) -> None:
        """Depart after the requests that are being read now have arrived: they come in one turn of the event loop."""
        if self._boarding or not self._waiting:
            return
        self._boarding = True
        if self._flying:
            asyncio.get_running_loop().call_soon(self._depart)
        else:  # there is room in any case, so the task of the flight itself looks who has come
            self._numbers += 1
            self._flights[self._numbers] = asyncio.get_running_loop().create_task(self._fly_first(self._numbers))

    async def _fly_first(self, number: int) -> None:
        self._boarding = False
        if batch := self._next():
            self._depart()
            await self._fly(batch, number)
        else:
            del self._flights[number]

    def _depart(self) -> None:
        self._boarding = False
        while batch := self._next():
            self._numbers += 1
            self._flights[self._numbers] = asyncio.get_running_loop().create_task(self._fly(batch, self._numbers))

    def _next(self) -> list[_Waiting[T, R]]:
        """The requests of the next flight; empty: none leaves now."""
        batch: list[_Waiting[T, R]] = []
        while self._waiting and not batch and self._flying < self.max_in_flight:
            share = math.ceil((len(self._waiting) + self._aboard) / self.max_in_flight)
            most = min(share, self.max_batch)
            if self._flying and len(self._waiting) < most:
                break
            while self._waiting and len(batch) < most:
                one = self._waiting.popleft()
                if not self._over(one[1], one[2]):
                    batch.append(one)
        if batch:
            self._flying += 1
            self._aboard += len(batch)
        return batch

    async def _fly(self, batch: list[_Waiting[T, R]], number: int) -> None:
        """Ends in the turn of the event loop in which the results are there, so that the next flight leaves soon."""
        began = time.monotonic()
        try:
            await self._answer(batch)
        finally:
            del self._flights[number]
            self._flying -= 1
            self._aboard -= len(batch)
            self._board()
            since = min(caller.since for _, _, caller, _ in batch)
            self._tell(Flight(len(batch), began - since, time.monotonic() - began))

    async def _answer(self, batch: list[_Waiting[T, R]]) -> None:
        try:
            results = await self._fn([one[0] for one in batch])
            if len(results) != len(batch):
                raise RuntimeError(  # noqa: TRY301 - the callers of this batch are told below
                    f"{len(batch)} requests went out and {len(results)} results came back"
                )
        except BaseException as error:
            for _, reply, _, _ in batch:
                if not reply.done():
                    reply.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        for (_, reply, _, _), result in zip(batch, results, strict=True):
            if reply.done():
                continue
            if isinstance(result, Exception):
                reply.set_exception(result)
            else:
                reply.set_result(result)
        self._answered(results)
