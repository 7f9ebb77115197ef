"""Building a version from item files: read, encode, index, verify, publish."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from redis.exceptions import RedisError

from recsys.config.platform import Platform
from recsys.config.whole import Config
from recsys.data.given_vectors import VECTOR
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress
from recsys.jobs.item_files import OnBatch, read_catalogue
from recsys.reading.dialect import ReadOptions
from recsys.reading.vector_files import SuppliedVectors, read_vectors
from recsys.routing import FIRST
from recsys.shard.snapshot import write_indexes
from recsys.state.connection import connect
from recsys.state.item_log import ItemLog
from recsys.versions.brought_vectors import with_vectors
from recsys.versions.build import Build, Indexer
from recsys.versions.contents import file_content, learned_so_far
from recsys.versions.fitting import fitting_version
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
    """Build and publish a version of the files' items, and do not promote it. Later changes over HTTP stay.

    `redis_url` and `indexer`: see `build_items`. Raises BadInput for a file that cannot be read, and VersionError as
    `Build.publish` does. A catalogue that is empty, or has less than half of the served version's items without
    `allow_shrink`, raises VersionError before anything is built.
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
    """Return what `build_files` would build from these files. Builds nothing. Raises what `build_files` raises."""
    items, given = _read(files, config, options, say, on_batch)
    build = Build.of(config, say)
    content = file_content(build.store, items, config.platform, build.encoder.fingerprint)
    if given is not None:
        content = with_vectors(content, given, build.encoder)
    return PlannedBuild.of(build, content, allow_shrink=allow_shrink)


def _read(
    files: Sequence[Path], config: Config, options: ReadOptions, say: Progress, on_batch: OnBatch
) -> tuple[Sequence[Item], SuppliedVectors | None]:
    """Return the items, and the vectors supplied with them."""
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
    """Build and publish a version of the items with the served version's model.

    `given`: vectors supplied with the items; None: all texts are encoded. `redis_url`: the Redis with the item log;
    None: it does not run, and the promotion checks the log. `indexer`: see `Build.indexer`.
    """
    build = Build.of(config, say, indexer)
    with build.store.drafts.alone():
        trimmed = [] if redis_url is None else asyncio.run(_trimmed(redis_url, config.platform))
        content = file_content(build.store, items, config.platform, build.encoder.fingerprint, trimmed)
        if given is not None:
            content = with_vectors(content, given, build.encoder)
        return build.publish(content, say, learned_so_far(build.store, build.encoder.fingerprint))


def ensure_version(config: Config, say: Progress, *, redis_url: str | None = None) -> tuple[Manifest, bool]:
    """Return the served version, and whether it was built now. An empty one is built and promoted if none is served.

    Raises VersionError as `fitting_version` does.
    """
    if (served := fitting_version(config)) is not None:
        return served, False
    store = VersionStore.of(config.platform)
    return store.promote(build_items([], config, say, redis_url=redis_url).version), True


async def _trimmed(redis_url: str, platform: Platform) -> list[str]:
    """Return the log entry up to which each shard's log was trimmed. Empty: Redis does not answer, and the promotion
    checks the log.
    """
    async with connect(redis_url, prefix=platform.redis_prefix) as redis:
        with contextlib.suppress(RedisError, OSError):
            served = VersionStore.of(platform).current()
            layout = FIRST if served is None else VersionStore.of(platform).manifest(served).layout
            return [await ItemLog(redis, layout).trimmed(shard) for shard in range(platform.shards)]
    return []
