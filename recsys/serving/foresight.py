"""A request alone has its profile loaded and its candidates searched for at the same time.

The shards are asked with the profile that the user had last time, and Redis for the one of now while they search. Their
answer counts if Redis says that the profile is still that one; else they are asked again. Redis is asked once the
request is there, so an event that was acknowledged before is in the answer, as ever. A request alone waits for the
later of the two answers and not for one after the other. In larger batches the processor has other work meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from recsys.datatypes import RecQuery
from recsys.ranking.batch_query import Prepared
from recsys.ranking.served_version import Serve
from recsys.serving.gathering import Asking, Gathering, ShardsAnswer
from recsys.serving.preparation import Preparation
from recsys.transport.clock import Clock


class Foresight:
    """A search for a profile that was remembered."""

    def __init__(self, prepared: Prepared, asking: Asking) -> None:
        self._prepared = prepared
        self._asking = asking
        self._searching: asyncio.Task[ShardsAnswer] | None = None
        """What asks the shards where the question did not leave at once."""

    @classmethod
    async def of(
        cls, queries: Sequence[RecQuery], serve: Serve, clock: Clock, preparation: Preparation, gathering: Gathering
    ) -> Foresight | None:
        """Ask the shards, and return then: they take longer than Redis. None: there is nothing to ask them."""
        if len(queries) != 1 or (prepared := preparation.foreseen(queries[0], serve)) is None:
            return None
        foresight = cls(prepared, gathering.begin([prepared], serve, clock))
        if not foresight._asking.left:
            await foresight._ask()
        return foresight

    async def _ask(self) -> None:
        self._searching = asyncio.get_running_loop().create_task(self._asking.answer())
        try:
            await asyncio.sleep(0)  # the search has its turn first
        except asyncio.CancelledError:
            self.end()
            raise

    async def answer(self, batch: Sequence[Prepared]) -> ShardsAnswer | None:
        """The shards' answer, if it is one to this batch; None: the profile is another by now, or part is missing."""
        [own] = batch
        if own.profile is self._prepared.profile and not own.missing:
            return await (self._asking.answer() if self._searching is None else self._searching)
        return None

    def end(self) -> None:
        """Nobody waits for the search any more."""
        if self._searching is not None and not self._searching.done():
            self._searching.cancel()
