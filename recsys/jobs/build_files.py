"""A version of whole item files: read, encode, index, verify, publish."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from redis.exceptions import RedisError

from recsys.config import Config, Platform
from recsys.data.vector_chunks import VECTOR
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress
from recsys.errors import VersionError
from recsys.jobs.item_files import OnBatch, read_catalogue
from recsys.reading.dialect import ReadOptions
from recsys.reading.vector_files import SuppliedVectors, read_vectors
from recsys.shard.snapshot import write_indexes
from recsys.state.connection import connect
from recsys.state.item_log import ItemLog
from recsys.versions.brought_vectors import with_vectors
from recsys.versions.build import Build, Indexer
from recsys.versions.contents import file_content, learned_so_far
from recsys.versions.manifest import Manifest
from recsys.versions.planned import PlannedBuild
from recsys.versions.prerequisites import check_tools
from recsys.versions.promotion import refuse_shrunken
from recsys.versions.store import VersionStore


def build_files(
    files: Sequence[Path],
    config: Config,
    options: ReadOptions,
    say: Progress,
    on_batch: OnBatch,
    *,
    redis_url: str | None = None,
    indexer: Indexer = write_indexes,
    allow_shrink: bool = True,
) -> Manifest:
    """Build and publish a version of the files' items, not yet promoted. Changes over HTTP stay on top of them.

    `options`: what is said of the files. `redis_url` and `indexer`: see `build_items`. Raises BadInput for a
    file that cannot be read, VersionError for what `Build.publish` refuses, and before anything is built for a
    catalogue that is empty, or has less than half of the served version's items where `allow_shrink` is not set.
    """
    items, given = _read(files, config, options, say, on_batch)
    refuse_shrunken(VersionStore.of(config.platform), len(items), allow_shrink=allow_shrink)
    return build_items(items, config, say, given, redis_url=redis_url, indexer=indexer)


def foreseen(
    files: Sequence[Path],
    config: Config,
    options: ReadOptions,
    say: Progress,
    on_batch: OnBatch,
    *,
    allow_shrink: bool = True,
) -> PlannedBuild:
    """Read the files as `build_files` does, and say what it would build. Builds nothing; errors: as there."""
    items, given = _read(files, config, options, say, on_batch)
    build = Build.of(config, say)
    content = file_content(build.store, items, config.platform, build.encoder.fingerprint)
    if given is not None:
        content = with_vectors(content, given, build.encoder)
    return PlannedBuild.of(build, content, allow_shrink=allow_shrink)


def _read(
    files: Sequence[Path], config: Config, options: ReadOptions, say: Progress, on_batch: OnBatch
) -> tuple[list[Item], SuppliedVectors | None]:
    """The items, and the vectors that came with them."""
    check_tools(config.platform)
    mapping = options.mapping
    columns = {field: column for field, column in mapping.items() if field != VECTOR}
    items = read_catalogue(files, config, replace(options, mapping=columns), say, on_batch)
    dimension = config.platform.encoder.dimension
    return items, read_vectors(files, dimension, mapping.get(VECTOR), mapping.get("item_id"))


def build_items(
    items: Sequence[Item],
    config: Config,
    say: Progress,
    given: SuppliedVectors | None = None,
    *,
    redis_url: str | None = None,
    indexer: Indexer = write_indexes,
) -> Manifest:
    """Build and publish a version of the items, with what the served version learned.

    `given`: vectors that came with the items; None: all texts are encoded. `redis_url`: of the Redis that holds the
    item log; None: none runs, and promoting will tell where the log is gone. `indexer`: where shards are indexed.
    """
    build = Build.of(config, say, indexer)
    with build.store.drafts.alone():
        trimmed = [] if redis_url is None else asyncio.run(_trimmed(redis_url, config.platform))
        content = file_content(build.store, items, config.platform, build.encoder.fingerprint, trimmed)
        if given is not None:
            content = with_vectors(content, given, build.encoder)
        return build.publish(content, say, learned_so_far(build.store, build.encoder.fingerprint))


def ensure_version(config: Config, say: Progress, *, redis_url: str | None = None) -> tuple[Manifest, bool]:
    """The served version, and whether it was made now: an empty one, to which items may then come over HTTP.

    Raises VersionError when the one that is served has other shards than the platform.
    """
    store, platform = VersionStore.of(config.platform), config.platform
    current = store.current()
    if current is None:
        return store.promote(build_items([], config, say, redis_url=redis_url).version), True
    manifest = store.manifest(current)
    if not manifest.fits(platform):
        raise VersionError(
            f"version {current} has {len(manifest.shards)} shards and the config file says shards: {platform.shards}, "
            "or routes otherwise; set it back, or make a version that fits with: recsys build --from-live --promote"
        )
    return manifest, False


async def _trimmed(redis_url: str, platform: Platform) -> list[str]:
    """Up to where each shard's log was trimmed; empty when Redis does not answer: promoting will tell."""
    async with connect(redis_url, prefix=platform.redis_prefix) as redis:
        with contextlib.suppress(RedisError, OSError):
            return [await ItemLog(redis).trimmed(shard) for shard in range(platform.shards)]
    return []
