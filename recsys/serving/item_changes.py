"""Changes of parts of an item, and deletes. No change is lost, whatever else is written at the same moment.

An item is read, edited, and written back as a whole, unless another write came in between: then it is read again. It is
read when every replica has applied what the log holds, so that no acknowledged write is missing in it. A delete reads
it at once, and waits for the log only where the item is not there yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.serving import Serving
from recsys.datatypes import Floats, Item
from recsys.errors import Conflict, NotFound, Unavailable
from recsys.ranking.served_version import Serve
from recsys.serving.encoder_calls import Encode, within
from recsys.serving.item_writes import ItemWriter, Logged
from recsys.state.item_log import ItemLog, LogId
from recsys.transport.shard_clients import Shards

_TRIES = 20
"""Times that an item is read and written back before a change gives up: each try but the last lost to another write."""
_PATIENCE_S = 0.25
"""Seconds for which a delete waits for those before it. One takes some milliseconds; a shard that does not answer holds
up its own callers alone."""

Edit = Callable[[Item], Item]
Read = Callable[[str], Awaitable[Item]]
"""Gives an item by its id, or raises NotFound."""
Visible = Callable[[Mapping[LogId, str]], Awaitable[bool]]
"""Waits until the replicas have applied these entries of the shards' logs; False where that takes too long."""


@dataclass(frozen=True, slots=True)
class ItemChanger:
    redis: Redis
    shards: Shards
    encode: Encode
    writer: ItemWriter
    settings: Serving
    _deleting: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the delete that is read and written: a catalogue that is cleared item by item, by many callers at a time,
    leaves reads the event loop.
    """

    async def change(
        self,
        item_id: str,
        edit: Edit,
        serve: Serve,
        read: Read,
        visible: Visible,
        version: int | None = None,
    ) -> Logged:
        """Write what `edit` makes of the item.

        Raises what `read` and `edit` raise, Conflict when other writes come before this one again and again or the
        caller's `version` is under the item's, and Unavailable.
        """
        for _ in range(_TRIES):
            ticket, last = await self.writer.ticket(), await self.writer.last(item_id)
            if not await visible(await self._ends(item_id, serve)):
                raise Unavailable("the shards are behind with the item log; nothing was changed: try again")
            item = await read(item_id)
            edited = edit(item)
            vector = await self._vector(item, edited, serve)
            logged = await self.writer.upsert([edited], vector, serve.fingerprint, ticket, version, last)
            outcome = logged.items[0]
            if not isinstance(outcome, Conflict) or outcome.field == "version":
                return logged
        return logged

    async def delete(
        self, item_id: str, serve: Serve, read: Read, visible: Visible, version: int | None = None
    ) -> Logged:
        """Delete the item. Raises NotFound when no acknowledged write has made it, and Unavailable."""
        ticket = await self.writer.ticket()
        async with self._turn():
            try:
                await read(item_id)
            except NotFound:
                pass
            else:
                return await self.writer.delete(item_id, ticket, version)
        # Where the shards stay behind nobody knows whether it is there: the tombstone stands behind all writes.
        if await visible(await self._ends(item_id, serve)):
            await self._read_or_bury(item_id, read, ticket, version)
        return await self.writer.delete(item_id, ticket, version)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(self._deleting.acquire(), _PATIENCE_S)
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._deleting.release()

    async def _read_or_bury(self, item_id: str, read: Read, ticket: int, version: int | None) -> None:
        """Raise NotFound when there is no such item. An upsert that began before the delete does not make it then."""
        try:
            await read(item_id)
        except NotFound:
            await self.writer.delete(item_id, ticket, version)
            raise

    async def _ends(self, item_id: str, serve: Serve) -> dict[LogId, str]:
        """The newest entry of each log that may hold the item."""
        layout = serve.layout
        holders = layout.router.holders(item_id)
        try:
            newest = await ItemLog(self.redis, layout.id).newest(holders)
        except (RedisError, OSError) as error:
            raise Unavailable("the item log does not answer; nothing was changed: try again") from error
        return {LogId(layout.id, shard): sequence for shard, sequence in zip(holders, newest, strict=True)}

    async def _vector(self, item: Item, edited: Item, serve: Serve) -> Floats:
        """(1, d) the text vector: the one that the shard has, where title and text stay as they are."""
        if edited.passage() == item.passage():
            vectors, _ = await self.shards.vectors(serve.version, [item.item_id], self.settings.budget_s)
            if item.item_id in vectors:
                return vectors[item.item_id][None, : serve.space.text]
        return await within(self.settings.write_budget_s, self.encode(serve.version, [edited.passage()]))
