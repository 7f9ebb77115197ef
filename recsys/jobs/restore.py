"""Restoring a backup onto a machine that has none of it, or instead of what it has.

Everything is fetched and its checksums are compared before anything is touched. A file in the home says that a restore
is under way: until one has ended, the platform does not start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from recsys.backup.manifest import FORMAT, BackedFile, BackupManifest
from recsys.backup.parts import ENTRIES, KEYS, read_entries, read_keys
from recsys.backup.store import BackupStore, room_for
from recsys.backup.under_way import begin, end, half_restored
from recsys.config.platform import Platform
from recsys.encoders.catalogue import Progress
from recsys.errors import BackupError
from recsys.files import sha256
from recsys.jobs.backup import scratch
from recsys.jobs.patient_redis import patient_redis
from recsys.outcomes.log_files import LogFiles
from recsys.routing import FIRST
from recsys.state.item_log import ItemLog
from recsys.state.presence import everyone
from recsys.state.redis_keys import OF_THE_MOMENT, Key, kind_of
from recsys.state.stored_keys import STREAM, StoredKey, StoredKeys
from recsys.versions.store import VersionStore

_TRIP = 4 << 20
"""Bytes of values that are sent to Redis at once."""

T = TypeVar("T")


async def check(platform: Platform, redis_url: str | None, manifest: BackupManifest, *, overwrite: bool) -> None:
    """Raise BackupError when the backup does not fit the platform, the platform runs, or it has data of its own.

    `redis_url` None: its Redis was never used. `overwrite`: data of its own may be there; so it may where an earlier
    restore of the same backup did not end.
    """
    _refuse_misfit(platform, manifest)
    overwrite = overwrite or half_restored(platform.home()) == manifest.name
    if not overwrite and (current := VersionStore.of(platform).current()) is not None:
        raise BackupError(f"version {current} is served here already: name another data_dir, or say --overwrite")
    if redis_url is None:
        return
    async with patient_redis(redis_url, platform, "nothing was restored") as redis:
        if running := await everyone(redis):
            raise BackupError(f"the platform runs ({len(running)} replicas): end it with `recsys down` first")
        if not overwrite and (key := await _first_key(redis)) is not None:
            raise BackupError(
                f"Redis holds data under the prefix {platform.redis_prefix!r}, such as {key}: name an empty one, "
                "another redis_prefix, or say --overwrite, which deletes it"
            )


async def restore(
    platform: Platform,
    redis_url: str,
    store: BackupStore,
    manifest: BackupManifest,
    say: Progress = lambda *_: None,
    *,
    overwrite: bool = False,
) -> None:
    """Restore a backup. An interrupted one is repeated by the same call, which does not fetch again what is whole.

    Raises BackupError as `check` does, and for the first file that is damaged, both before anything is changed. Raises
    Unavailable when Redis does not answer.
    """
    home = platform.home()
    await check(platform, redis_url, manifest, overwrite=overwrite)
    overwrite = overwrite or half_restored(home) == manifest.name
    with scratch(home, "restore", keep=True) as folder:
        room_for(home, sum({file.sha256: file.bytes for file in manifest.files()}.values()))
        fetched = await asyncio.to_thread(fetch, store, manifest, folder, say)
        begin(home, manifest.name)
        await asyncio.to_thread(_restore_versions, platform, manifest, fetched, folder, say)
        async with patient_redis(redis_url, platform, "run the same `recsys restore` again") as redis:
            try:
                await _restore_keys(redis, platform, manifest, fetched, say, overwrite=overwrite)
            except OutOfMemoryError as error:
                raise BackupError(f"Redis is full ({error}): raise maxmemory, then restore again") from None
        _restore_slate_log(platform, manifest, fetched)
        if manifest.current is not None:
            VersionStore.of(platform).restore(manifest.current)
        end(home)


def fetch(store: BackupStore, manifest: BackupManifest, folder: Path, say: Progress) -> dict[str, Path]:
    """Fetch the files of a backup into a folder. Return their paths there, by checksum.

    Raises BackupError for the first that is missing or damaged.
    """
    files = {file.sha256: file for file in manifest.files()}
    for number, file in enumerate(files.values()):
        say("fetch", number, len(files))
        store.fetch(file, folder / file.sha256)
    say("fetch", len(files), len(files))
    return {digest: folder / digest for digest in files}


def verify(store: BackupStore, manifest: BackupManifest, folder: Path, say: Progress) -> None:
    """Read and compare every file of a backup, one after another. Raises BackupError as `fetch` does."""
    files = {file.sha256: file for file in manifest.files()}
    for number, file in enumerate(files.values()):
        say("compare", number, len(files))
        store.fetch(file, folder / "file")
        (folder / "file").unlink()
    say("compare", len(files), len(files))


def _refuse_misfit(platform: Platform, manifest: BackupManifest) -> None:
    if manifest.format != FORMAT:
        raise BackupError(
            f"backup {manifest.name} has format {manifest.format}, and this release reads {FORMAT}: restore it with "
            "the release that wrote it"
        )
    if manifest.shards != platform.shards or manifest.routing != platform.routing.model_dump_json():
        raise BackupError(
            f"backup {manifest.name} is of {manifest.shards} shards and routing {manifest.routing}, and the config "
            f"file says {platform.shards} and {platform.routing.model_dump_json()}: restore with the config file of "
            "the backup, change it afterwards and build with --from-live"
        )


async def _first_key(redis: Redis) -> str | None:
    """Return a key that a backup would have. None: there is none."""
    async for key in redis.scan_iter(match=Key("*"), count=1000):
        if kind_of(key.partition(b":")[2]) not in OF_THE_MOMENT:
            return str(key.decode(errors="replace"))
    return None


def _restore_versions(
    platform: Platform, manifest: BackupManifest, fetched: dict[str, Path], folder: Path, say: Progress
) -> None:
    store = VersionStore.of(platform)
    published = {m.version for m in store.versions()}
    for number, (version, files) in enumerate(manifest.versions.items()):
        say("versions", number, len(manifest.versions))
        if version in published:
            _refuse_other(store, version, files)
            continue
        draft = folder / version
        for file in files:
            path = draft / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # of a restore that was killed
            path.hardlink_to(fetched[file.sha256])
        store.add(draft, version)
    say("versions", len(manifest.versions), len(manifest.versions))


def _refuse_other(store: VersionStore, version: str, files: Sequence[BackedFile]) -> None:
    for file in files:
        if sha256(store.file(version, file.path)) != file.sha256:
            raise BackupError(f"another version {version} is there already ({file.path} differs): remove it first")


async def _restore_keys(
    redis: Redis,
    platform: Platform,
    manifest: BackupManifest,
    fetched: dict[str, Path],
    say: Progress,
    *,
    overwrite: bool,
) -> None:
    keys = StoredKeys(redis, platform.redis_prefix)
    if overwrite:
        await _clear(redis, keys)
    streams: list[StoredKey] = []
    for number, file in enumerate(manifest.redis):
        say("redis", number, len(manifest.redis))
        if file.path.startswith(KEYS):
            streams += await _write_keys(keys, fetched[file.sha256])
        elif file.path.startswith(ENTRIES):
            await _write_entries(keys, fetched[file.sha256])
    say("redis", len(manifest.redis), len(manifest.redis))
    for record in streams:
        await keys.end_stream(record)
    for name, last in manifest.log.items():
        shard, _, layout = name.partition("@")
        if (end := await ItemLog(redis, layout or FIRST).end(int(shard))) != last:
            raise BackupError(f"the log of shard-{shard} ends at {end} and not at {last}: restore with --overwrite")


async def _write_keys(keys: StoredKeys, path: Path) -> list[StoredKey]:
    """Write the keys of a file. Return the streams, which are written after their entries."""
    streams: list[StoredKey] = []
    for page in read_keys(path):
        streams += [record for record in page if record.type == STREAM]
        for part in _trips([record for record in page if record.type != STREAM], _size_of):
            await keys.write(part)
    return streams


async def _write_entries(keys: StoredKeys, path: Path) -> None:
    for stream, entries in read_entries(path):
        for part in _trips(entries, lambda entry: sum(map(len, entry.fields))):
            await keys.append(stream, part)


async def _clear(redis: Redis, keys: StoredKeys) -> None:
    """Delete all keys under the prefix."""
    page: list[bytes] = []
    async for key in redis.scan_iter(match=Key("*"), count=1000):
        page.append(key.removeprefix(keys.prefix))
        if len(page) == 1000:
            await keys.delete(page)
            page = []
    await keys.delete(page)


def _size_of(record: StoredKey) -> int:
    return len(record.value) if isinstance(record.value, bytes) else sum(map(len, record.value))


def _restore_slate_log(platform: Platform, manifest: BackupManifest, fetched: dict[str, Path]) -> None:
    log = LogFiles.of(platform)
    for file in manifest.slate_log:
        kind, hour, name = file.path.split("/")
        log.take(kind, hour, name, fetched[file.sha256])


def _trips(records: Sequence[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut records so that each part has at most some MB."""
    part: list[T] = []
    size = 0
    for record in records:
        part.append(record)
        size += size_of(record)
        if size >= _TRIP:
            yield part
            part, size = [], 0
    if part:
        yield part
