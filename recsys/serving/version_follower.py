"""How a composer follows the versions: it serves the newest one that every shard replica holds and it can open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config import Platform
from recsys.errors import VersionError
from recsys.ranking.served_version import Serve
from recsys.serving.background import Background
from recsys.serving.version_choice import better, most_covered, to_ask_for
from recsys.serving.version_rejections import Rejections
from recsys.state.item_log import ItemLog, after
from recsys.state.membership import ComposerMember, Drift, Group, Member, ShardMember, covered, drifts, furthest, ready
from recsys.state.presence import SAY_S, Presence
from recsys.telemetry import SILENT, Telemetry
from recsys.versions.fallbacks import Servable
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore

_LOOK_S = 0.25
"""Seconds between two looks at who is there, and at which version is promoted."""
_WAITING_LOOK_S = 0.01
"""The same while a write waits to be visible."""
HELPLESS_S = 30.0
"""Seconds without an answer, though shards hold a version, after which the composer is not healthy."""

log = logging.getLogger(__name__)


async def _nothing(_: Serve) -> None:
    return


class VersionFollower:
    """`serve` is read once a batch; it changes between batches, never within one."""

    def __init__(
        self, composer_id: str, store: VersionStore, redis: Redis, platform: Platform, telemetry: Telemetry = SILENT
    ) -> None:
        self._store = store
        self._log = ItemLog(redis)
        self._presence = Presence(redis, ComposerMember(id=composer_id), (ShardMember, ComposerMember))
        self._shards = platform.shards
        self._servable = Servable(store, platform)
        self._telemetry = telemetry
        self._background = Background(telemetry)
        self._manifest: Manifest | None = None
        self._serve: Serve | None = None
        self._taken = asyncio.Event()
        """Set when there is a version to serve."""
        self._promoted: Sequence[str] = ()
        self.rejections = Rejections()
        """Versions that it could not open."""
        self._reached: Mapping[int, str] | None = None
        """How far any replica had applied the log at the last look; by the next all of them should have. None: there
        was no version to switch to."""
        self._looking: asyncio.Future[None] | None = None
        self.before_switch: Callable[[Serve], Awaitable[None]] = _nothing
        """Awaited before another version is served than the present one, where that one can still answer."""
        self._answerable_at = math.inf
        """When it last could answer, or no other version was there to serve, by the loop's clock."""

    @property
    def serve(self) -> Serve:
        """Raises VersionError before the first version is ready."""
        if self._serve is None:
            raise VersionError("no version is ready yet; try again in a moment")
        return self._serve

    @property
    def manifest(self) -> Manifest | None:
        return self._manifest

    @property
    def promoted(self) -> str | None:
        """What CURRENT names, which may not be served yet, or not at all; None: not known yet."""
        return self._promoted[0] if self._promoted else None

    @property
    def members(self) -> Sequence[Member]:
        """Shard replicas and composers that are there."""
        return [*self._presence.members(ShardMember), *self.composers]

    @property
    def composers(self) -> Sequence[ComposerMember]:
        """Composers that are there; this one is missing until its record has been read back."""
        return self._presence.members(ComposerMember)

    @property
    def composer_count(self) -> int:
        """How many composers there are, this one included."""
        return max(1, len(self.composers))

    def replicas(self, shard: int) -> Sequence[ShardMember]:
        """Replicas of a shard; the same object until a look shows something new."""
        return self._presence.group.get(shard, ())

    def drift(self) -> list[Drift]:
        """Of all replicas that have measured the served version. Raises VersionError before there is one."""
        return drifts(self._presence.group, self.serve.version)

    def can_answer(self) -> bool:
        """Whether a shard holds the served version.

        True while Redis has never told who is there: shards are then reached through Serve.
        """
        if self._serve is None:
            return False
        return not self._presence.looked or covered(self._presence.group, self._serve.version, self._shards) > 0

    async def start(self, patience_s: float) -> None:
        """Wait until every shard holds a promoted version; then go on following in the background.

        After `patience_s` seconds the version that most shards hold is served: a shard that is still missing is said so
        in every answer. Where none is held anywhere, it is the newest that opens. Raises VersionError when none does.
        """
        with contextlib.suppress(RedisError, OSError):  # then the loops go on trying
            await self.refresh()
        self._background.start("say", self._presence.say, SAY_S)
        self._background.start("look", self.refresh, _LOOK_S)
        self._background.start("follow", self._follow, _LOOK_S)
        try:
            await asyncio.wait_for(self._taken.wait(), patience_s)
        except TimeoutError:
            try:
                await self._make_do()
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        await self._background.stop()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        await self._presence.leave()

    def healthy(self) -> bool:
        """Whether its loops run, and it answers or a new composer could not answer either."""
        return self._background.healthy() and not self._helpless()

    async def refresh(self) -> None:
        """Look at who is there. Calls that come together share one look. Raises RedisError or OSError."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._presence.look())
        await asyncio.shield(self._looking)

    async def until(self, test: Callable[[Group], bool], within_s: float) -> bool:
        """Wait until the test of the shards' replicas is true; False when that takes longer, or Redis is away."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while loop.time() < deadline:
            try:
                await self.refresh()
            except (RedisError, OSError):
                return False
            if test(self._presence.group):
                return True
            await asyncio.sleep(_WAITING_LOOK_S)
        return False

    def beat(self) -> None:
        """Publish the follower's measurements; once a second."""
        self._telemetry.set("recsys_rejected_versions", self.rejections.among(self._promoted[:1]))

    async def _follow(self) -> None:
        self._promoted = await asyncio.to_thread(self._servable.read)
        self.rejections.keep(self._promoted)
        group = self._presence.group
        versions = better(self._promoted, self._served, group, self._shards)
        if versions:
            now = furthest(group)
            await self._switch_to_first(versions, group, now if self._reached is None else self._reached)
            self._reached = now
        else:
            self._reached = None
        await self._ask(group)

    async def _switch_to_first(self, versions: Sequence[str], group: Group, reached: Mapping[int, str]) -> None:
        """Switch to the first of them that is ready and opens; none may be. `reached`: see `membership.ready`."""
        for version in versions:
            if self.rejections.resting(version) or not ready(group, version, self._shards, {}):
                continue
            if ready(group, version, self._shards, await self._in_log(reached)) and await self._switch(version):
                return

    async def _in_log(self, reached: Mapping[int, str]) -> dict[int, str]:
        """What was reached, but no further than the log's end: no replica can reach what Redis has lost."""
        numbers = [number for number in reached if number < self._shards]
        ends = await self._log.newest(numbers)
        return {number: min(reached[number], end, key=after) for number, end in zip(numbers, ends, strict=True)}

    async def _switch(self, version: str) -> bool:
        """Serve the version, unless it does not open, or the shards drop it meanwhile."""
        opened = await self._open(version)
        if opened is None:
            return False
        serve, manifest = opened
        self.rejections.remove(version)
        if self._served is not None and covered(self._presence.group, self._served, self._shards) == self._shards:
            try:
                await self.before_switch(serve)
            except Exception as error:  # it only saves work: no version waits for it for ever
                log.exception("getting ready for version %s: %s", version, type(error).__name__)
        await self.refresh()  # opening it may have taken long
        if not ready(self._presence.group, version, self._shards, {}):
            return False
        await self._take(serve, manifest)
        return True

    async def _open(self, version: str) -> tuple[Serve, Manifest] | None:
        """None: it does not open, which the rejections say."""
        try:
            serve = await asyncio.to_thread(self._store.serve, version)
            return serve, await asyncio.to_thread(self._store.manifest, version)
        except Exception as error:  # noqa: BLE001 - whatever it is, another version can be served
            self.rejections.add("the composer", version, error)
            return None

    async def _take(self, serve: Serve, manifest: Manifest) -> None:
        self._serve, self._manifest = serve, manifest
        self._taken.set()
        log.info("serving version %s", serve.version)
        with contextlib.suppress(RedisError, OSError):  # the loop `say` says it again
            await self._presence.say(self._record)

    async def _make_do(self) -> None:
        """Serve the version that most shards hold, the newest of them."""
        promoted = self._promoted or await asyncio.to_thread(self._servable.read)
        for version in most_covered(promoted, self._presence.group, self._shards):
            opened = await self._open(version)
            if opened is not None:
                if self._serve is None:  # else one became ready meanwhile
                    await self._take(*opened)
                return
        raise VersionError(
            f"none of the promoted versions can be served: {'; '.join(self.rejections.reasons.values())}"
        )

    async def _ask(self, group: Group) -> None:
        """Ask the shards for an older version where none of the newer ones can be served."""
        rejected = {v for m in self.members for v in m.rejected} | self.rejections.reasons.keys()
        wanted = to_ask_for(self._promoted, self._served, rejected, group, self._shards)
        record = structs.replace(self._record(self._presence.member), asks=wanted)
        if record != self._presence.member:
            await self._presence.say(lambda _: record)

    @property
    def _served(self) -> str | None:
        """The served version; None: there is none yet."""
        return self._serve.version if self._serve else None

    def _record(self, member: ComposerMember) -> ComposerMember:
        return structs.replace(member, serving=self._served, rejected=self.rejections.reasons)

    def _helpless(self) -> bool:
        """Whether it cannot answer for long, while shards hold a version that a new composer could perhaps serve."""
        now = asyncio.get_running_loop().time()
        group = self._presence.group
        if self.can_answer() or not any(ready(group, v, self._shards, {}) for v in self._promoted):
            self._answerable_at = now
        self._answerable_at = min(self._answerable_at, now)
        return now - self._answerable_at > HELPLESS_S
