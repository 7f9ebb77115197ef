"""Items, vectors, users and events as Parquet, of one moment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from recsys.backup import export_tables
from recsys.backup.copying import Copying
from recsys.backup.export_folder import ExportFolder
from recsys.backup.export_tables import EVENTS, ITEMS, USERS, Catalogue
from recsys.backup.spool import Spool
from recsys.config.platform import Platform
from recsys.encoders.catalogue import Progress
from recsys.jobs.backup import scratch
from recsys.jobs.patient_redis import patient_redis
from recsys.versions.store import VersionStore

_KINDS = frozenset({"events", "about", "log"})


@dataclass(frozen=True, slots=True)
class Exported:
    at: datetime
    version: str | None
    """The served version. None: nothing is served, so there are no items."""
    items: int
    users: int
    events: int


async def export(platform: Platform, redis_url: str | None, url: str, say: Progress = lambda *_: None) -> Exported:
    """Write what the platform knows at one moment to `url`, a folder or an fsspec URL that holds nothing yet.

    `redis_url` None: Redis was never used. The platform may run. Raises what `Copying` raises, and VersionError when
    the served version is removed, or a file of it is damaged.
    """
    with scratch(platform.home(), "export") as folder, Spool(folder / "keys.sqlite") as spool:
        to, at = ExportFolder(url, folder), datetime.now(UTC)
        store = VersionStore.of(platform)
        current = store.record()
        if redis_url is not None:
            async with patient_redis(redis_url, platform, "nothing was exported; start it again") as redis:
                copying = Copying(redis, platform.redis_prefix, spool, _KINDS.__contains__)
                async with copying.tracked():
                    await copying.sweep(say)
                    moment = await copying.moment()
                    while (now := store.record()) != current:  # its log may have been trimmed for another version
                        current, moment = now, await copying.moment()
            at = datetime.fromtimestamp(moment.at_ms / 1000, UTC)
        counts = {USERS: to.write(USERS, export_tables.users(spool, platform.user_attributes))}
        say("write", 1, 3)
        counts[EVENTS] = to.write(EVENTS, export_tables.events(spool))
        say("write", 2, 3)
        version = None if current is None else store.manifest(current.version)
        catalogue = None if version is None else Catalogue(store, version, platform.attributes)
        counts[ITEMS] = to.write(ITEMS, iter(()) if catalogue is None else export_tables.items(catalogue, spool))
        say("write", 3, 3)
    return Exported(at, None if version is None else version.version, counts[ITEMS], counts[USERS], counts[EVENTS])
