"""A shard as a composer reaches it: over a replica's channel, and by another way where that fails."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from recsys import wire
from recsys.candidates import CandidateSet, ShardQuery
from recsys.channel import Channel, Unproven
from recsys.datatypes import Floats, Item
from recsys.membership import Member
from recsys.shards import ShardClient
from recsys.telemetry import SILENT, Telemetry

R = TypeVar("R")

log = logging.getLogger(__name__)


class DirectShard:
    """Channels to the replicas of one shard that hold the version asked for, the least busy one first.

    `members()` names the replicas heard of lately. Where none can be reached the call goes to `fallback`, so a replica
    that was killed a moment ago costs its callers another try and not their answer.
    """

    def __init__(
        self,
        shard: int,
        members: Callable[[], Sequence[Member]],
        secret: bytes,
        fallback: ShardClient,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._shard = shard
        self._members = members
        self._secret = secret
        self._fallback = fallback
        self._telemetry = telemetry
        self._channels: dict[str, Channel] = {}

    async def search(self, query: ShardQuery) -> CandidateSet:
        answer = await self._call(query.version, wire.SEARCH, query, lambda: self._fallback.search(query))
        return wire.decode_candidates(answer) if isinstance(answer, bytes) else answer

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        asked = wire.Lookup(version, list(item_ids))
        answer = await self._call(version, wire.VECTORS, asked, lambda: self._fallback.vectors(version, item_ids))
        if not isinstance(answer, bytes):
            return answer
        found = wire.decode_found(answer)
        return found.item_ids, found.vectors

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        asked = wire.Lookup(version, list(item_ids))
        answer = await self._call(version, wire.ITEMS, asked, lambda: self._fallback.items(version, item_ids))
        return wire.decode_items(answer) if isinstance(answer, bytes) else answer

    async def _call(
        self, version: str, method: int, message: object, fallback: Callable[[], Awaitable[R]]
    ) -> bytes | R:
        channel = self._pick(version)
        if channel is not None:
            try:
                return await channel.call(method, wire.encode(message))
            except Unproven as error:
                # A Redis that lost its data has a new secret, and replicas that are older than that keep the old one.
                self._telemetry.add("recsys_channel_refused_total", shard=str(self._shard))
                log.warning("%s; calls go through Serve's handle, which is slower: restart shard-%d if Redis lost its "
                            "data, or see who listens there", error, self._shard)  # fmt: skip
                channel.close()
            except OSError:
                channel.close()
        return await fallback()

    def _pick(self, version: str) -> Channel | None:
        addresses = {
            m.address for m in self._members() if m.shard == self._shard and version in m.versions and m.address
        }
        for gone in self._channels.keys() - addresses:
            self._channels.pop(gone).close()
        for new in addresses - self._channels.keys():
            self._channels[new] = Channel(new, self._secret)
        known = [self._channels[a] for a in addresses]
        return min(known, key=lambda c: (c.under_way, random.random())) if known else None  # noqa: S311 - a coin toss
