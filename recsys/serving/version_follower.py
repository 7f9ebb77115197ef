"""The version that a composer serves: the newest one that every shard holds and the composer can open."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.errors import Unavailable, VersionError
from recsys.ranking.served_version import Serve
from recsys.routing import Layout, Router
from recsys.serving.background import Background
from recsys.serving.canary_follower import CanaryArm, CanaryFollower
from recsys.serving.log_ends import in_log, new_ends
from recsys.serving.members_view import MembersView
from recsys.serving.version_choice import better, most_covered, to_ask_for
from recsys.serving.version_rejections import Rejections
from recsys.serving.written_layouts import WrittenLayouts
from recsys.state.item_log import LogId
from recsys.state.membership import ComposerMember, Drift, Group, asking_for_rebuilds, drifts, furthest, ready
from recsys.state.presence import SAY_S
from recsys.telemetry import SILENT, Telemetry
from recsys.versions.fallbacks import Servable
from recsys.versions.manifest import Manifest
from recsys.versions.opening import open_serve
from recsys.versions.store import VersionStore

_LOOK_S = 0.25
"""Seconds between two looks at the members and at the promoted version."""
_LAYOUTS_S = 1.0
"""Seconds between two looks at the layouts that are written. A write that is refused by them looks at once."""
HELPLESS_S = 30.0
"""Seconds after which a composer that cannot answer is unhealthy, if shards hold a version that another could serve."""

log = logging.getLogger(__name__)


async def _nothing(_: Serve) -> None:
    return


class VersionFollower:
    """Follows the promoted versions. `serve` is read once for each batch, so a batch has one version."""

    def __init__(self, composer_id: str, store: VersionStore, redis: Redis, telemetry: Telemetry = SILENT) -> None:
        self.store = store
        self._redis = redis
        self.members = MembersView(redis, composer_id)
        self.layouts = WrittenLayouts(redis, self._promoted_layout)
        self._servable = Servable(store, lambda: self.layouts.last)
        self.rejections = Rejections()
        """Versions that could not be opened."""
        self._routers: dict[str, Router] = {}
        """By version, of all that were opened: one a night, and small."""
        self._telemetry = telemetry
        self._background = Background(telemetry)
        self._manifest: Manifest | None = None
        self._serve: Serve | None = None
        self._canaries = CanaryFollower(redis, self._servable, self.rejections, self._open)
        self.canary: CanaryArm | None = None
        """None: all users have the served version."""
        self._taken = asyncio.Event()
        """Set when there is a version to serve."""
        self._promoted: Sequence[str] = ()
        self._reached: Mapping[LogId, str] | None = None
        """By log, the last entry that any replica had applied at the last look. All replicas should have applied it by
        the next look. None: there was no version to switch to."""
        self.before_switch: Callable[[Serve], Awaitable[None]] = _nothing
        """Awaited before a switch, if the present version can still answer."""
        self._answerable_at = math.inf
        """When the composer last could answer, or had no other version to serve, by the loop's clock."""

    @property
    def serve(self) -> Serve:
        """The served version. Raises VersionError before the first one is ready."""
        if self._serve is None:
            raise VersionError("no version is ready yet; try again in a moment")
        return self._serve

    @property
    def manifest(self) -> Manifest | None:
        return self._manifest

    @property
    def promoted(self) -> str | None:
        """The version that CURRENT names. It may not be served yet. None: it was not read yet."""
        return self._promoted[0] if self._promoted else None

    def drift(self) -> list[Drift]:
        """Return the drift of replicas that measured the served version. Raises VersionError before one is served."""
        return drifts(self.members.group, self.serve.version)

    def rebuilds_asked_for(self) -> list[str]:
        """Why replicas want the served version to be built anew, in words."""
        return asking_for_rebuilds(self.members.group, self.serve.version)

    def can_answer(self) -> bool:
        """Return whether a shard holds the served version.

        True until the presence records were read for the first time: shards are then called through Serve.
        """
        if self._serve is None:
            return False
        return not self.members.presence.looked or self.members.covered(self._serve.version, self._serve.layout) > 0

    def router(self, version: str) -> Router:
        """Return which shards of a version own what. Raises Unavailable for one that was not served lately."""
        router = self._routers.get(version)
        if router is None:
            raise Unavailable(f"version {version} is served no longer; try again")
        return router

    async def start(self, patience_s: float) -> None:
        """Wait until every shard holds a promoted version, then follow the versions in the background.

        After `patience_s` seconds the version that most shards hold is served, and answers name the missing shards. If
        no shard holds any, it is the newest version that opens. Raises VersionError when none opens.
        """
        with contextlib.suppress(RedisError, OSError):  # the background loops try again
            await self.members.refresh()
        self._background.start("say", self.members.presence.say, SAY_S)
        self._background.start("look", self.members.refresh, _LOOK_S)
        self._background.start("follow", self._follow, _LOOK_S)
        self._background.start("layouts", self._look_at_layouts, _LAYOUTS_S)
        try:
            async with asyncio.timeout(patience_s):
                await self._taken.wait()
        except TimeoutError:
            try:
                await self._make_do()
            except BaseException:
                await self.stop()
                raise

    async def stop(self) -> None:
        await self._background.stop()
        await self.members.leave()

    def healthy(self) -> bool:
        """Return whether the background loops run, and a new composer could not answer if this one cannot."""
        return self._background.healthy() and not self._helpless()

    def beat(self) -> None:
        """Publish the follower's metrics. Called once a second."""
        self._telemetry.set("recsys_rejected_versions", self.rejections.among(self._promoted[:1]))
        for number in range(self.serve.layout.router.shards):
            self._telemetry.add("recsys_degraded_slates_total", 0, part=f"shard-{number}")

    async def _follow(self) -> None:
        self._promoted = await asyncio.to_thread(self._servable.read)
        group = self.members.group
        self.canary = await self._canaries.follow(self.canary, group, self._serve, self._promoted)
        tried = () if self._canaries.record is None else (self._canaries.record.version,)
        self.rejections.keep([*self._promoted, *tried])
        versions = better(self._promoted, self._served, self._whole)
        if versions:
            now = furthest(group) | await self._new_ends(versions)
            await self._switch_to_first(versions, group, now if self._reached is None else self._reached)
            self._reached = now
        else:
            self._reached = None
        await self._ask()

    async def _look_at_layouts(self) -> None:
        if self._promoted:
            await self.layouts.look()

    def _promoted_layout(self) -> Layout:
        """Raises VersionError before CURRENT was read."""
        layout = next(filter(None, map(self._servable.layout, self._promoted)), None)
        if layout is None:
            raise VersionError("the manifest of no promoted version can be read; try again in a moment")
        return layout

    def _whole(self, version: str) -> bool:
        """Return whether each shard of the version has a replica that holds it."""
        layout = self._servable.layout(version)
        return layout is not None and self.members.covered(version, layout) == layout.router.shards

    def _share(self, version: str) -> float:
        """Return the share of the version's shards that have a replica that holds it."""
        layout = self._servable.layout(version)
        return 0.0 if layout is None else self.members.covered(version, layout) / layout.router.shards

    async def _new_ends(self, versions: Sequence[str]) -> dict[LogId, str]:
        served = self._serve.layout if self._serve else None
        return await new_ends(self._redis, served, map(self._servable.layout, versions))

    async def _switch_to_first(self, versions: Sequence[str], group: Group, reached: Mapping[LogId, str]) -> None:
        """Switch to the first version, if any, that is ready and opens. `reached`: see `membership.ready`."""
        for version in versions:
            layout = self._servable.layout(version)
            if layout is None or self.rejections.resting(version) or not ready(group, version, layout, {}):
                continue
            log_ends = await in_log(self._redis, layout, reached)
            if ready(group, version, layout, log_ends) and await self._switch(version, layout):
                return

    async def _switch(self, version: str, layout: Layout) -> bool:
        """Serve the version. Return False when it does not open, or the shards drop it meanwhile."""
        opened = await self._open(version)
        if opened is None:
            return False
        serve, manifest = opened
        self.rejections.remove(version)
        if self._served is not None and self._whole(self._served):
            try:
                await self.before_switch(serve)
            except Exception as error:  # it only saves work later: the switch does not depend on it
                log.exception("getting ready for version %s: %s", version, type(error).__name__)
        await self.members.refresh()  # opening the version may have taken long
        if not self.members.ready(version, layout):
            return False
        await self._take(serve, manifest)
        return True

    async def _open(self, version: str) -> tuple[Serve, Manifest] | None:
        """Open a version. None: it does not open, and the reason is in `rejections`."""
        try:
            serve = await asyncio.to_thread(open_serve, self.store, version)
            self._routers[version] = serve.layout.router
            return serve, await asyncio.to_thread(self.store.manifest, version)
        except Exception as error:  # noqa: BLE001 - after any error another version can be served
            self.rejections.add("the composer", version, error)
            return None

    async def _take(self, serve: Serve, manifest: Manifest) -> None:
        self._serve, self._manifest = serve, manifest
        self._taken.set()
        log.info("serving version %s", serve.version)
        with contextlib.suppress(RedisError, OSError):  # the background loop `say` repeats it
            await self.members.presence.say(self._record)

    async def _make_do(self) -> None:
        """Serve the version that most shards hold, of several the newest."""
        promoted = self._promoted or await asyncio.to_thread(self._servable.read)
        for version in most_covered(promoted, self._share):
            opened = await self._open(version)
            if opened is not None:
                if self._serve is None:  # otherwise a version became ready meanwhile
                    await self._take(*opened)
                return
        raise VersionError(
            f"none of the promoted versions can be served: {'; '.join(self.rejections.reasons.values())}"
        )

    async def _ask(self) -> None:
        """Ask the shards for an older version if none of the newer ones can be served."""
        rejected = {v for m in self.members.all for v in m.rejected} | self.rejections.reasons.keys()
        version = to_ask_for(self._promoted, self._served, rejected, self._whole)
        presence = self.members.presence
        record = structs.replace(self._record(presence.member), asks=version)
        if record != presence.member:
            await presence.say(lambda _: record)

    @property
    def _served(self) -> str | None:
        """The name of the served version. None: there is none yet."""
        return self._serve.version if self._serve else None

    def _record(self, member: ComposerMember) -> ComposerMember:
        canary = self._canaries.record
        return structs.replace(
            member,
            serving=self._served,
            tries=None if canary is None or canary.base != self._served else canary.version,
            trying=None if self.canary is None else self.canary.serve.version,
            rejected=self.rejections.reasons,
        )

    def _helpless(self) -> bool:
        """Return whether it has not answered for HELPLESS_S although shards hold a version that another might serve."""
        now = asyncio.get_running_loop().time()
        if self.can_answer() or not any(map(self._ready, self._promoted)):
            self._answerable_at = now
        self._answerable_at = min(self._answerable_at, now)
        return now - self._answerable_at > HELPLESS_S

    def _ready(self, version: str) -> bool:
        layout = self._servable.layout(version)
        return layout is not None and self.members.ready(version, layout)
