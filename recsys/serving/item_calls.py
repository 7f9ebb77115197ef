"""Items as callers read and write them: encoded, logged, and waited for until searches find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from recsys.config.serving import Serving
from recsys.data.given_vectors import Wide
from recsys.datatypes import Filter, Item
from recsys.errors import BadInput, Conflict, NotFound, RecsysError, Unavailable
from recsys.serving.call_limit import CallLimit
from recsys.serving.encoder_calls import Encode
from recsys.serving.item_changes import Edit, ItemChanger
from recsys.serving.item_vectors import encoding_of
from recsys.serving.item_writes import ItemWriter, Logged
from recsys.serving.version_follower import VersionFollower
from recsys.state.item_log import LogId
from recsys.state.membership import applied
from recsys.transport.shard_clients import Shards

VISIBLE_WITHIN_S = 5.0
"""Seconds for which a write waits to be visible."""


@dataclass(frozen=True, slots=True)
class Written:
    """An acknowledged change of an item."""

    item_id: str
    shard: int
    sequence: str
    visible: bool | None
    """Whether every live replica of every shard that the call wrote to has applied it; None: not waited for."""


class ItemCalls:
    """`reads` and `deletes` bound the calls of one item that wait for an answer, each kind by itself: deletes that wait
    for one another leave room for reads.
    """

    def __init__(
        self, redis: Redis, shards: Shards, encode: Encode, follower: VersionFollower, settings: Serving
    ) -> None:
        self._shards = shards
        self._encode = encode
        self._follower = follower
        self._settings = settings
        kept_s = 2 * settings.write_budget_s + 60
        self._writer = ItemWriter(redis, follower.layouts, lambda: follower.serve.layout.id, kept_s)
        self._changer = ItemChanger(redis, shards, encode, self._writer, settings)
        self.reads, self.deletes = CallLimit(settings.max_waiting), CallLimit(settings.max_waiting)

    @property
    def vector_length(self) -> int:
        """Numbers of a vector that comes with an item that is written now."""
        return self._follower.serve.space.text

    async def upsert(
        self,
        items: Sequence[Item],
        *,
        wait_visible: bool,
        version: int | None = None,
        given: Mapping[int, Wide] | None = None,
    ) -> list[Written | Conflict]:
        """Insert or replace items. Return the outcome of each.

        `version`: the caller's, see `item_writes.py`; None: the order of the calls decides. `wait_visible`: whether to
        wait until searches find the items. `given`: vectors that came with items, by place, of `vector_length`.

        Items of many texts are written part by part as they are encoded. Raises Unavailable when the writes are not
        durable, or no encoder answers: then any of them may be lost. Raises BadInput for a text that the encoder cannot
        read. The message of both says when some were written. Raises BadInput for given vectors of another encoder:
        then nothing was written.
        """
        if not items:
            return []
        serve = self._follower.serve
        if any(len(vector) != serve.space.text for vector in (given or {}).values()):
            raise Unavailable("a version of another encoder has taken over; send the items again")
        encoding = encoding_of(items, given or {}, serve, self._encode, self._settings)
        logged = Logged([], {})
        try:
            ticket = await self._writer.ticket()
            for part, encoded in encoding.parts:
                try:
                    vectors = await encoded
                except RecsysError as error:
                    if not logged.items:
                        raise
                    raise _after(len(logged.items), len(items), error) from error
                logged += await self._writer.upsert(items[part], vectors, serve.fingerprint, ticket, version)
        finally:
            await encoding.end()
        visible = await self._visible(logged.newest) if wait_visible else None
        return [
            one if isinstance(one, Conflict) else Written(item.item_id, *one, visible)
            for item, one in zip(items, logged.items, strict=True)
        ]

    async def change(self, item_id: str, edit: Edit, *, wait_visible: bool, version: int | None = None) -> Written:
        """Write what `edit` makes of an item. Raises NotFound, Conflict, Unavailable, and what `edit` raises."""
        serve = self._follower.serve
        logged = await self._changer.change(item_id, edit, serve, self._read, self._visible, version)
        return await self._written(item_id, logged, wait_visible=wait_visible)

    async def delete(self, item_id: str, *, wait_visible: bool, version: int | None = None) -> Written:
        """Delete an item. Raises NotFound when there is none, Conflict after a later write or a higher version, and
        Overloaded.
        """
        with self.deletes:
            logged = await self._changer.delete(item_id, self._follower.serve, self._read, self._visible, version)
            return await self._written(item_id, logged, wait_visible=wait_visible)

    async def item(self, item_id: str) -> Item:
        """Raises NotFound, Unavailable when a shard that may hold the item does not answer, and Overloaded."""
        with self.reads:
            return await self._read(item_id)

    async def _read(self, item_id: str) -> Item:
        items, missing = await self._shards.items(self._follower.serve.version, [item_id], self._settings.budget_s)
        if item_id in items:
            return items[item_id]
        if missing:
            raise Unavailable(f"{', '.join(missing)} may hold the item and does not answer; try again")
        raise NotFound(f"item_id: there is no item {item_id!r}", field="item_id")

    async def page(self, after: str | None, limit: int, given: Filter | None) -> list[Item]:
        """Items behind the id `after`, hidden ones too, in the order of `shard/listing.py`.

        Raises Unavailable when a shard does not answer.
        """
        version = self._follower.serve.version
        items, missing = await self._shards.page(version, after, limit, given, self._settings.write_budget_s)
        if missing:
            raise Unavailable(f"{', '.join(missing)} does not answer, and the page would not be whole; try again")
        return items

    async def _written(self, item_id: str, logged: Logged, *, wait_visible: bool) -> Written:
        """The one change that was logged. Raises the Conflict that it became."""
        if isinstance(change := logged.items[0], Conflict):
            raise change
        visible = await self._visible(logged.newest) if wait_visible else None
        return Written(item_id, *change, visible)

    async def _visible(self, newest: Mapping[LogId, str]) -> bool:
        """Wait until all shards have applied their newest change. Return False when that takes over five seconds."""
        serving = self._follower.serve.layout.id
        return await self._follower.members.until(
            lambda group: all(applied(group, log, sequence, serving) for log, sequence in newest.items()),
            VISIBLE_WITHIN_S,
        )


def _after(seen: int, all_of_them: int, error: RecsysError) -> RecsysError:
    """The error, and that it came after the first `seen` items of a call."""
    message = f"{error}; of the {all_of_them} items the first {seen} were written before, and may be sent again"
    if isinstance(error, BadInput):
        return type(error)(message, field=error.field, code=error.code)
    return type(error)(message)
