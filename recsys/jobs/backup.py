"""A backup of a platform at one moment: versions, CURRENT, what is in Redis, the log of answers, the config file."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from redis.asyncio import Redis

from recsys.backup.copying import Copying, Moment
from recsys.backup.manifest import FORMAT, BackedFile, BackupManifest
from recsys.backup.parts import write_parts
from recsys.backup.spool import Spool
from recsys.backup.store import BackupStore
from recsys.config.platform import Platform
from recsys.encoders.catalogue import Progress
from recsys.errors import BackupError
from recsys.files import locked
from recsys.jobs.patient_redis import patient_redis
from recsys.outcomes.log_files import LogFiles
from recsys.routing import log_name
from recsys.state.item_log import START_OF_LOG, after
from recsys.state.redis_keys import OF_THE_MOMENT, TRIMMED
from recsys.versions.current import Current
from recsys.versions.manifest import Manifest
from recsys.versions.storage import MANIFEST
from recsys.versions.store import VersionStore

_TRIES = 5
"""How often versions may come and go while a backup is made; each try copies only what is new."""
_LOG = "log:"


@dataclass(frozen=True, slots=True)
class BackedUp:
    manifest: BackupManifest
    stored: int
    """Files that had to be stored."""
    stored_bytes: int
    removed: tuple[str, ...]
    """Earlier backups that are kept no longer."""


def is_kept(kind: str) -> bool:
    """Whether a backup has the keys of this kind."""
    return kind not in OF_THE_MOMENT


async def back_up(
    platform: Platform,
    config_file: Path | None,
    redis_url: str,
    store: BackupStore,
    say: Progress = lambda *_: None,
    *,
    keep: int | None = None,
) -> BackedUp:
    """Make a backup, and with `keep` remove all but the newest so many.

    The platform may run. Raises Unavailable when Redis does not answer, RuntimeFailure as `Copying` does, and
    BackupError when a version's file is damaged or another backup of this platform is under way.
    """
    with scratch(platform.home(), "backup") as folder, Spool(folder / "keys.sqlite") as spool:
        work = BackupRun(platform, store, folder, say)
        async with patient_redis(redis_url, platform, "nothing was backed up; start it again") as redis:
            moment, current, manifests = await work.copy(redis, spool)
        manifest = BackupManifest(
            format=FORMAT,
            name=store.new_name(),
            created_at=datetime.now(UTC),
            at_ms=moment.at_ms,
            log=log_ends(spool),
            shards=platform.shards,
            routing=platform.routing.model_dump_json(),
            current=current,
            versions={m.version: work.files[m.version] for m in manifests},
            keys=moment.keys,
            redis=work.write(spool),
            slate_log=work.slate_log(LogFiles.of(platform)),
            config=None if config_file is None else work.put(config_file, config_file.name),
        )
        store.publish(manifest)
    removed = store.prune(keep) if keep is not None else []
    return BackedUp(manifest, work.stored, work.stored_bytes, tuple(removed))


def foreseen(platform: Platform) -> tuple[str, ...]:
    """Return the versions that a backup would have."""
    return tuple(manifest.version for manifest in VersionStore.of(platform).versions())


class BackupRun:
    def __init__(self, platform: Platform, store: BackupStore, folder: Path, say: Progress) -> None:
        self._platform = platform
        self._versions = VersionStore.of(platform)
        self._store = store
        self._folder = folder
        self._say = say
        self.files: dict[str, list[BackedFile]] = {}
        """Of each version that was copied."""
        self.stored = self.stored_bytes = 0

    async def copy(self, redis: Redis, spool: Spool) -> tuple[Moment, Current | None, list[Manifest]]:
        """Copy keys to the spool and versions to the store, until both are of one moment."""
        copying = Copying(redis, self._platform.redis_prefix, spool, is_kept)
        async with copying.tracked():
            await copying.sweep(self._say)
            for _ in range(_TRIES):
                before = self._versions.record()
                manifests = await asyncio.to_thread(self.copy_versions)
                moment = await copying.moment()
                whole = [m for m in manifests if _has_log(m, spool)]
                served = before is None or before.version in {m.version for m in whole}
                if served and self._versions.record() == before:
                    return moment, _of(before, whole), whole
        raise BackupError(
            f"other versions were promoted {_TRIES} times while the backup was made; start it again later"
        )

    def write(self, spool: Spool) -> list[BackedFile]:
        """Write the copied keys to files, and store these."""
        files = []
        for part in write_parts(spool, self._folder):
            files.append(self.put(part, part.name))
            part.unlink()
            self._say("store", len(files), len(files))
        return files

    def slate_log(self, log: LogFiles) -> list[BackedFile]:
        """Store the files of the log of answers. What is in no file yet is among the keys."""
        files, part = [], self._folder / "slot.parquet"
        for kind in ("answers", "outcomes"):
            for hour in log.hours(kind):
                for name in log.sizes(kind, hour):
                    content = log.content(kind, hour, name)
                    if content is not None:  # else an hour's slots became one file meanwhile
                        part.write_bytes(content)
                        files.append(self.put(part, f"{kind}/{hour}/{name}"))
        return files

    def put(self, path: Path, name: str, expected: str | None = None) -> BackedFile:
        file, is_new = self._store.put(path, name, expected)
        self.stored += is_new
        self.stored_bytes += file.bytes if is_new else 0
        return file

    def copy_versions(self) -> list[Manifest]:
        """Store the files of all published versions, but of those that are removed meanwhile."""
        copied = []
        for manifest in self._versions.versions():
            if manifest.version not in self.files:
                try:
                    self.files[manifest.version] = self._copy_version(manifest)
                except FileNotFoundError:
                    if manifest.version in {m.version for m in self._versions.versions()}:
                        raise
                    continue
            copied.append(manifest)
        return copied

    def _copy_version(self, manifest: Manifest) -> list[BackedFile]:
        name, checksums = manifest.version, manifest.checksums()
        files = []
        for number, (path, digest) in enumerate(checksums.items()):
            self._say(name, number, len(checksums))
            files.append(self.put(self._versions.file(name, path), path, digest))
        self._say(name, len(checksums), len(checksums))
        own = self._folder / MANIFEST
        own.write_bytes(self._versions.manifest_text(name))
        return [*files, self.put(own, MANIFEST)]


def _has_log(manifest: Manifest, spool: Spool) -> bool:
    """Whether the copied log has all that came behind the version's snapshot; see `ItemLog.check`."""
    trimmed = spool.get(TRIMMED.encode())
    cells = list(trimmed.value) if trimmed is not None and isinstance(trimmed.value, list) else []
    ends = {log.decode(): after(cursor.decode()) for log, cursor in zip(cells[::2], cells[1::2], strict=True)}
    start, built_ms = after(START_OF_LOG), manifest.created_at.timestamp() * 1000
    return all(
        (end := ends.get(log_name(n, manifest.layout), start)) <= (cursor := after(shard.cursor))
        or (cursor == start and built_ms >= end[0])
        for n, shard in enumerate(manifest.shards)
    )


def log_ends(spool: Spool) -> dict[str, str]:
    """Return the last id that each log had given out, by its name, see `routing.log_name`."""
    logs = {r.key.decode().removeprefix(_LOG): r.value for r in spool.records(_LOG.encode())}
    return {name: value[0].decode() for name, value in logs.items() if isinstance(value, list)}


def _of(current: Current | None, manifests: list[Manifest]) -> Current | None:
    """CURRENT without the earlier versions that the backup does not have."""
    copied = {m.version for m in manifests}
    for version in current.previous if current else []:
        if version not in copied and current is not None:
            current = current.without(version)
    return current


@contextmanager
def scratch(home: Path, what: str, *, keep: bool = False) -> Iterator[Path]:
    """Yield a folder in the home for the files of a command, empty, and removed afterwards. One process at a time has
    it.

    `keep`: files of a run that failed stay for the next one. Raises BackupError while another process has it.
    """
    root = home / f".{what}"
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    with locked(root / "lock", BackupError(f"another `recsys {what}` is at work in {home}: wait for it")):
        folder = root / "work"
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        except BaseException:
            if not keep:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
