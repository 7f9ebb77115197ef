"""A shard's replica: it loads the versions that composers serve or ask for, searches them, and drops the others."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Filter, Floats, Item
from recsys.errors import Unavailable, VersionError
from recsys.serving.background import Background
from recsys.serving.channel_calls import ChannelCalls
from recsys.serving.encoder_calls import Encode
from recsys.serving.held_version import HeldVersion, ShardSource
from recsys.serving.measures import BEAT_S
from recsys.serving.shard_watch import ShardWatch
from recsys.serving.standstill import LOOK_S, Standstill
from recsys.serving.version_rejections import Rejections
from recsys.shard.candidates import CandidateSet, ShardQuery
from recsys.shard.listing import page
from recsys.shard.shard import Shard
from recsys.state.item_log import Entry
from recsys.state.membership import WIRE, ComposerMember, ShardMember
from recsys.state.presence import SAY_S, Presence, secret
from recsys.telemetry import SILENT, Telemetry
from recsys.transport.channel_server import ChannelServer
from recsys.versions.fallbacks import Servable
from recsys.versions.store import VersionStore

FOLLOW_S = 0.5
"""Seconds between two looks at which versions are wanted."""
_LEAVE_S = 1.0
"""Seconds from signing off to closing, so that no call is lost when a replica is scaled away."""

READ_UP_S = 1.0
"""Seconds that a lookup waits for the log to be read after a standstill."""


class ShardReplica:
    def __init__(
        self,
        shard: int,
        replica_id: str,
        store: VersionStore,
        redis: Redis,
        encode: Encode,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """`shard`: its number. `encode`: for entries of the log that another encoder made, see `LogApplier`."""
        self.versions: dict[str, HeldVersion] = {}
        """Those that can be searched, in the order in which they were loaded."""
        self.watch = ShardWatch(self.versions, telemetry)
        self._source = ShardSource(shard, store, redis, encode, telemetry)
        self._servable = Servable(store)
        self._presence = Presence(redis, ShardMember(id=replica_id, shard=shard, wire=WIRE), (ComposerMember,))
        self._background = Background(telemetry)
        self.rejections = Rejections()
        """Versions that it could not load."""
        self._promoted: list[str] = []
        """The promoted version and those before it, as read last."""
        self._needed = True
        """Whether a version that composers serve or ask for, or the promoted one, has this shard."""
        self._tuning = ShardTuning()
        self._standstill = Standstill()
        self._channel: ChannelServer | None = None
        self._searching = ThreadPoolExecutor(1, "search")
        """One at a time: a walk uses `threads` cores by itself, and the Python around it would fight for one lock."""

    @property
    def name(self) -> str:
        """Of the shard."""
        return f"shard-{self._source.number}"

    @property
    def tuning(self) -> ShardTuning:
        """The settings that it searches with now."""
        return self._tuning

    async def start(self, host: str | None = None) -> None:
        """Load what is served, catch up with the log, and follow both from now on.

        `host`: address on which to open a channel for composers; None: no channel. A shard that no version has yet
        waits for one. Raises VersionError when nothing is promoted, or none of the promoted versions can be loaded.
        """
        if host is not None:
            self._channel = await ChannelServer.start(host, ChannelCalls(self).answer, await secret(self._source.redis))
            self._presence.member = structs.replace(self._presence.member, address=self._channel.address)
        await self._presence.look()
        loaded = await self._load_first(await self._wanted())
        if self._needed and not (loaded or await self._load_first(await self._read_promoted())):
            reasons = "; ".join(self.rejections.reasons.values())
            raise VersionError(f"{self.name}: none of the promoted versions can be loaded: {reasons}")
        start = self._background.start
        start("standstill", self._standstill.look, LOOK_S)
        await self._say()  # a shard without a version has not said yet that it is there
        start("presence", self._speak, SAY_S)  # loading another version may take longer than silence is borne
        with contextlib.suppress(RedisError, Unavailable):  # then `_follow` goes on trying
            while await self._load_first(await self._wanted()):
                continue
        self.watch.meter.begin()
        start("follow", self._follow, FOLLOW_S)
        start("watch", self.watch.beat, BEAT_S)
        start("recall", lambda: self.watch.measure_recall(self._tuning.recall_share), 0.0)

    async def stop(self) -> None:
        await self._background.stop()
        await asyncio.gather(*(version.retire() for version in self.versions.values()))
        await self._presence.leave()
        if self._channel is not None:
            # Composers look for who is there several times a second: no new call comes after that, and open ones end.
            await asyncio.sleep(_LEAVE_S)
            self._channel.stop()
        self._searching.shutdown(wait=False, cancel_futures=True)

    def tune(self, tuning: ShardTuning) -> None:
        """Take over settings. May be called from another thread than the event loop's."""
        self._tuning = tuning
        for version in list(self.versions.values()):
            version.tune(tuning)

    def healthy(self) -> bool:
        """Whether it serves, and everything that runs in the background still does."""
        versions, serves = self.versions.values(), bool(self.versions) or not self._needed
        return serves and self._background.healthy() and all(version.healthy() for version in versions)

    async def search(self, query: ShardQuery) -> CandidateSet:
        """Raises Unavailable when the version is not here, or nobody waits for the answer any more."""
        candidates = self.search_at_once(query)
        return await self.search_later(query) if candidates is None else candidates

    async def search_later(self, query: ShardQuery) -> CandidateSet:
        """In the search thread, once the log is read up."""
        version = self._loaded(query.version)
        with self.watch.waiting():
            if version.read_at < self._standstill.ended:
                await version.read_again(self._standstill.ended, query.left_s)
            deadline = time.monotonic() + query.left_s
            candidates, took_s = await asyncio.get_running_loop().run_in_executor(
                self._searching, self._search_until, deadline, version.shard, query
            )
        self.watch.note(version, query, candidates, took_s)
        return candidates

    def search_at_once(self, query: ShardQuery) -> CandidateSet | None:
        """The search in the event loop itself; None: it takes too long for that, or has to wait."""
        version = self._loaded(query.version)
        self._standstill.look()
        shard = version.shard
        # A row that is linked holds the index for some of a millisecond: the loop does not wait for it.
        waits = version.read_at < self._standstill.ended or shard.fresh.linking or shard.exact or shard.index.waits
        if waits or not self.watch.pace.at_once(shard, query):
            return None
        candidates, took_s = self.watch.search(shard, query)
        asyncio.get_running_loop().call_soon(self.watch.note_at_once, version, query, candidates, took_s)
        return candidates

    def _search_until(self, deadline: float, shard: Shard, query: ShardQuery) -> tuple[CandidateSet, float]:
        """In the search thread. Raises Unavailable when nobody waits any more: the searches behind it are of use."""
        if time.monotonic() > deadline:
            raise Unavailable(f"{self.name} came to the search after its caller had given up")
        return self.watch.search(shard, query)

    async def vectors(self, version: str, item_ids: Sequence[str]) -> tuple[tuple[str, ...], Floats]:
        """Ids of the items that are here, and their (n, width) float32 contexts, see `model/space.py`."""
        return (await self._read_up(version)).shard.vectors_of(item_ids)

    async def items(self, version: str, item_ids: Sequence[str]) -> list[Item]:
        """Those of the items that are here."""
        items = map((await self._read_up(version)).shard.item, item_ids)
        return [item for item in items if item is not None]

    async def page(self, version: str, after: str | None, limit: int, given: Filter | None) -> list[Item]:
        """See `shard/listing.py`."""
        return await asyncio.to_thread(page, (await self._read_up(version)).shard, after, limit, given)

    async def _read_up(self, name: str) -> HeldVersion:
        """The version, once it has read what came while the process stood still. Raises Unavailable."""
        version = self._loaded(name)
        self._standstill.look()
        if version.read_at < self._standstill.ended:
            await version.read_again(self._standstill.ended, READ_UP_S)
        return version

    def _loaded(self, name: str) -> HeldVersion:
        version = self.versions.get(name)
        if version is None:
            raise Unavailable(f"{self.name} does not hold version {name}")
        return version

    async def _wanted(self) -> list[str]:
        """Versions that composers serve or ask for, and the promoted one behind them; those that have this shard.

        The last records of silent composers count, too: they may be serving all the same.
        """
        promoted = await self._read_promoted()
        composers = self._presence.records(ComposerMember)
        named = [v for m in composers for v in (m.serving, m.asks, m.tries) if v is not None]
        wanted = [v for v in dict.fromkeys([*named, promoted[0]]) if v in self.versions or await self._is_in(v)]
        self._needed = bool(wanted)
        return wanted

    async def _is_in(self, version: str) -> bool:
        """Whether the version has this shard. True where its manifest cannot be read: opening it says why."""
        layout = await asyncio.to_thread(self._servable.layout, version)
        return layout is None or self._source.number < layout.router.shards

    async def _read_promoted(self) -> list[str]:
        """The promoted version, and those served before it, newest first."""
        self._promoted = await asyncio.to_thread(self._servable.read)
        return self._promoted

    async def _load_first(self, versions: Sequence[str]) -> bool:
        """Load the first of the versions that is not here and opens; False when there is none."""
        for version in versions:
            if version in self.versions or self.rejections.resting(version) or not await self._is_in(version):
                continue
            try:
                await self._load(version)
            except (RedisError, Unavailable):
                raise  # Redis or the encoder is away, and nothing is wrong with the version
            except Exception as error:  # noqa: BLE001 - what is loaded goes on, whatever is wrong with another
                self.rejections.add(self.name, version, error)
            else:
                self.rejections.remove(version)
                return True
        return False

    async def _load(self, name: str) -> None:
        version = await HeldVersion.open(name, self._source)
        version.tune(self._tuning)  # after opening it, for the settings may have changed meanwhile
        self.versions[name] = version
        version.serve(self._applied)
        await self._say()

    async def _applied(self, entries: Sequence[Entry]) -> None:
        self.watch.applied(entries)
        await self._say()

    async def _follow(self) -> None:
        """Load what was promoted or asked for, drop what nobody serves any more."""
        wanted = await self._wanted()
        while await self._load_first(wanted):
            wanted = await self._wanted()
        self.rejections.keep([*wanted, *self._promoted])
        self._source.telemetry.set("recsys_rejected_versions", self.rejections.among(wanted))
        # Composers that are not heard may serve anything: only what they said lets a version go.
        spoken = any(m.serving for m in self._presence.records(ComposerMember))
        for name, version in list(self.versions.items()):
            version.note_use(used=name in wanted or not spoken)
            if version.expired:
                del self.versions[name]
                await version.retire()

    async def _speak(self) -> None:
        """In a loop of its own: loading a version takes long, and a replica that is silent counts as gone."""
        try:
            await self._presence.say(self._record)
        finally:  # a Redis that takes no record may give those of others
            await self._presence.look()

    async def _say(self) -> None:
        """Write the record at once. Where Redis does not take it, the loop `presence` tries again."""
        with contextlib.suppress(RedisError, OSError):
            await self._presence.say(self._record)

    def _record(self, member: ShardMember) -> ShardMember:
        states = {name: version.state() for name, version in self.versions.items() if version.announced}
        return structs.replace(member, versions=states, rejected=self.rejections.reasons)
