"""A shard as a composer reaches it: over a replica's channel, and by another way when that fails."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from recsys.datatypes import Filter, Floats, Item
from recsys.errors import Unavailable
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.short_query import ShortQuery
from recsys.state.membership import WIRE, ShardMember, spoken
from recsys.telemetry import SILENT, Telemetry
from recsys.transport import wire
from recsys.transport.channel import Call, Channel
from recsys.transport.handshake import Unproven
from recsys.transport.hedging import Hedging
from recsys.transport.shard_clients import Begun, ShardClient

R = TypeVar("R")

SHUNNED_S = 1.0
"""Seconds for which a replica that could not be reached is not tried. A dead one may still be listed, and a try of a
host that is away takes a second."""

SILENT_S = 0.25
"""Seconds after which a replica that has answered nothing is not tried for a while, either: its machine may be out of
reach, and nobody says so. Searches take some milliseconds."""

log = logging.getLogger(__name__)


class Sent(NamedTuple):
    """A question that has left."""

    channel: Channel
    call: Call


class DirectShard:
    """A shard's client. Each call goes to the least busy replica that holds the version, over its channel.

    Replicas of another release whose messages have another format are not called. While there is one, no call goes to
    the fallback either, which may lead to any replica: the call is refused in words.

    `replicas` returns the shard's live replicas, and the same object until something about them changes. When none can
    be reached, the call goes to `fallback`. So a replica that was killed a moment ago costs its callers another try and
    not their answer. `hedging`: when a search that is late goes to another replica too; None: never.
    """

    def __init__(
        self,
        shard: int,
        replicas: Callable[[], Sequence[ShardMember]],
        secret: bytes,
        fallback: ShardClient,
        telemetry: Telemetry = SILENT,
        hedging: Hedging | None = None,
    ) -> None:
        self._shard = shard
        self._hedging = hedging
        self._replicas = replicas
        self._secret = secret
        self._fallback = fallback
        self._telemetry = telemetry
        telemetry.add("recsys_channel_refused_total", 0, shard=str(shard))
        self._channels: dict[str, Channel] = {}
        """By address."""
        self._seen: Sequence[ShardMember] | None = None
        self._holding: dict[str, list[Channel]] = {}
        """By version, the channels to the replicas that hold it. Of the replicas in `_seen`."""
        self._shunned: dict[Channel, float] = {}
        """Channels that failed, and until when others go first, in monotonic seconds."""
        self._refusal = ""
        """Why calls do not go to the fallback; empty: they do."""

    async def search(self, query: ShardQuery, sent: Sent | None = None) -> CandidateSet:
        """`sent`: the question, where it has left already."""
        answer = await self._call(query.version, wire.SEARCH, query, lambda: self._fallback.search(query), sent)
        if answer == wire.UNTOLD and isinstance(query, ShortQuery):
            return await self.search(query.whole)
        return wire.decode_candidates(answer) if isinstance(answer, bytes) else answer

    def begin(self, query: ShardQuery) -> Begun | None:
        """The search, whose question has left; None: it cannot leave at once, or may go to another replica too."""
        channel = self._pick(query.version)
        if channel is None or (self._hedging is not None and len(self._holding[query.version]) > 1):
            return None
        call = channel.begin(wire.SEARCH, wire.encode(query))
        return None if call is None else partial(self.search, query, Sent(channel, call))

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        lookup = wire.Lookup(version, list(item_ids))
        answer = await self._call(version, wire.VECTORS, lookup, lambda: self._fallback.vectors(version, item_ids))
        if not isinstance(answer, bytes):
            return answer
        vectors = wire.decode_vectors(answer)
        return vectors.item_ids, vectors.vectors

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        lookup = wire.Lookup(version, list(item_ids))
        answer = await self._call(version, wire.ITEMS, lookup, lambda: self._fallback.items(version, item_ids))
        return wire.decode_items(answer) if isinstance(answer, bytes) else answer

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:
        message = wire.Page(version, after, limit, given)
        answer = await self._call(
            version, wire.PAGE, message, lambda: self._fallback.page(version, after, limit, given)
        )
        return wire.decode_items(answer) if isinstance(answer, bytes) else answer

    async def _call(
        self,
        version: str,
        method: int,
        message: object,
        fallback: Callable[[], Awaitable[R]],
        sent: Sent | None = None,
    ) -> bytes | R:
        channel = self._pick(version) if sent is None else sent.channel
        if channel is not None:
            try:
                if sent is not None:
                    return await sent.call
                payload = wire.encode(message)
                if self._hedging is None or method != wire.SEARCH or len(self._holding[version]) == 1:
                    return await channel.call(method, payload)
                return await self._hedged(self._hedging, version, channel, payload)
            except Unproven as error:
                # A Redis that lost its data has a new secret, and replicas that are older than that keep the old one.
                self._telemetry.add("recsys_channel_refused_total", shard=str(self._shard))
                log.warning("%s; calls go through Serve's handle, which is slower: restart shard-%d if Redis lost its "
                            "data, or see who listens there", error, self._shard)  # fmt: skip
                self._shun(channel)
            except OSError:
                self._shun(channel)
            except asyncio.CancelledError:  # the caller has given up
                self._leave_if_silent(version, channel)
                raise
        if self._refusal:
            raise Unavailable(self._refusal)
        return await fallback()

    async def _hedged(self, hedging: Hedging, version: str, first: Channel, payload: bytes) -> bytes:
        """The answer of the first replica, or of another one that is asked when the first is late. Errors are those of
        `Channel.call`, of the first.
        """
        began = time.monotonic()
        call = asyncio.ensure_future(first.call(wire.SEARCH, payload))
        calls = [call]
        try:
            await asyncio.wait(calls, timeout=hedging.late_s)
            if not call.done():
                self._leave_if_silent(version, first)
            if not call.done() and (sister := self._pick(version, first)) is not None and hedging.spend():
                calls.append(asyncio.ensure_future(sister.call(wire.SEARCH, payload)))
            answered = await _first_answer(calls)
            hedging.record(time.monotonic() - began)
            if len(calls) > 1:
                self._telemetry.add("recsys_hedged_calls_total", outcome="lost" if answered is call else "won")
            return answered.result()
        finally:
            for one in calls:
                one.cancel()

    def _pick(self, version: str, but: Channel | None = None) -> Channel | None:
        """The least busy one of those that hold the version, but for this one."""
        replicas = self._replicas()
        if replicas is not self._seen:
            self._take(replicas)
        channels = self._holding.get(version)
        if channels is None:
            return None
        if self._shunned:
            channels = self._others(channels)
        if but is not None:
            channels = [channel for channel in channels if channel is not but]
        if len(channels) == 1:
            return channels[0]
        return min(channels, key=lambda c: (c.under_way, random.random()), default=None)  # noqa: S311 - a coin toss

    def _take(self, replicas: Sequence[ShardMember]) -> None:
        """Open and close channels, once for every change of the replicas."""
        self._seen, self._holding = replicas, {}
        before, self._refusal = self._refusal, _refusal(self._shard, replicas)
        if self._refusal and self._refusal != before:
            log.warning("%s", self._refusal)
        replicas = spoken(replicas)
        addresses = {m.address for m in replicas if m.address}
        for gone in self._channels.keys() - addresses:
            self._channels.pop(gone).close()
        for new in addresses - self._channels.keys():
            self._channels[new] = Channel(new, self._secret)
        for m in replicas:
            if m.address:
                for version in m.versions:
                    self._holding.setdefault(version, []).append(self._channels[m.address])
        self._shunned = {c: until for c, until in self._shunned.items() if c in self._channels.values()}

    def _shun(self, channel: Channel) -> None:
        channel.close()
        self._shunned[channel] = time.monotonic() + SHUNNED_S

    def _leave_if_silent(self, version: str, channel: Channel) -> None:
        """Try other replicas for a while, where there are some; what waits for this one goes on waiting."""
        if channel.silent_s > SILENT_S and len(self._others(self._holding.get(version, []))) > 1:
            self._shunned[channel] = time.monotonic() + SHUNNED_S

    def _others(self, channels: list[Channel]) -> list[Channel]:
        """The channels without those that failed a moment ago."""
        now = time.monotonic()
        self._shunned = {c: until for c, until in self._shunned.items() if until > now}
        return [c for c in channels if c not in self._shunned]


def _refusal(shard: int, replicas: Sequence[ShardMember]) -> str:
    """Name the formats of messages that this release does not know; empty: there are none."""
    others = sorted({m.wire for m in replicas} - {WIRE})
    if not others:
        return ""
    named = ", ".join(map(str, others))
    return (
        f"shard-{shard} has replicas of another release, with messages of format {named}; this release has {WIRE} "
        "and calls only those with the same: finish the upgrade"
    )


async def _first_answer(calls: Sequence[asyncio.Future[bytes]]) -> asyncio.Future[bytes]:
    """The first call that is answered; where none is, the first of them, which failed."""
    waiting = set(calls)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        good = [call for call in calls if call in done and call.exception() is None]
        if good:
            return good[0]
    return calls[0]
