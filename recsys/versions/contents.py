"""The content of a new version: the served snapshot with its log applied, or items from files."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from recsys.config.platform import AttributeType, Platform
from recsys.data.validation import check_attributes
from recsys.datatypes import Floats, Item
from recsys.encoders.catalogue import Progress
from recsys.errors import BadInput, VersionError
from recsys.files import replace
from recsys.model.trained import Trained
from recsys.routing import Layout, Router
from recsys.shard.snapshot import read_items
from recsys.state.item_log import START_OF_LOG, Delete, ItemLog, LogId, Upsert, after, ends
from recsys.state.layouts import begin
from recsys.state.presence import everyone
from recsys.state.tie_breaking import in_catalogue_order
from recsys.versions.build import Content
from recsys.versions.manifest import Manifest
from recsys.versions.model_files import read_model
from recsys.versions.store import VersionStore

_RESUMED_WITHIN_S = 6 * 3600.0
"""Seconds for which an interrupted compaction may continue with its cut. Later it starts again with a new one."""


class Cut(BaseModel):
    """The ends of the logs that a compaction includes, all of one moment. It is stored, so that a continued build has
    the same content.
    """

    base: str
    read: list[str]
    """By shard of the base, the end of its log."""
    layout: str
    """Id of the layout of the version to be: the base's, or one that was begun beside it."""
    cursors: list[str]
    """By shard of the version to be, the end of its log."""
    at: float
    """Unix seconds."""


async def live_content(
    store: VersionStore,
    redis: Redis,
    platform: Platform,
    fingerprint: str,
    progress: Progress,
    *,
    moving: bool = False,
    planned: bool = False,
) -> Content:
    """Return the served version's items with every change acknowledged until now. The caller holds `drafts.alone()`.

    Where shard count or routing change, every write goes to the logs of both layouts from now on, unless `planned` says
    that nothing will be built. `moving`: that is meant even if the platform runs. Raises VersionError when no version
    is served, or when they change while the platform runs without `moving`: it lacks deployments of the new shards.
    """
    base = _served(store)
    if base.fits(platform):
        layout = base.built_for
    elif moving or not await everyone(redis):
        router = Router(platform.routing, platform.shards)
        layout = Layout("planned", router) if planned else await begin(redis, base.built_for, router)
    else:
        raise VersionError(
            f"the platform runs with {len(base.shards)} shards and this file has {platform.shards} or routes "
            "otherwise: `recsys apply` builds for them and changes them while it runs; or stop it with `recsys down`"
        )
    cut = await _cut(store, redis, base, layout)
    items: dict[str, Item] = {}
    encoded: dict[str, Floats] = {}
    for shard in range(len(base.shards)):
        progress("read", shard, len(base.shards))
        own, vectors = await _shard(store, redis, base, shard, cut.read[shard], fingerprint)
        items |= own
        encoded |= vectors
    progress("read", len(base.shards), len(base.shards))
    declared = [declared_item(item, base, platform.attributes) for item in in_catalogue_order(items.values())]
    return Content(declared, encoded, cut.cursors, base.version, layout.id)


def file_content(
    store: VersionStore,
    items: Sequence[Item],
    platform: Platform,
    fingerprint: str,
    trimmed: Sequence[str] = (),
) -> Content:
    """Return the content of items from files. Replicas apply the log since the served version's snapshot on top.

    Texts that the served version has already encoded with this encoder are not encoded again. `trimmed`: by shard, the
    log entry up to which the log was trimmed, where it was read; the new version's cursor is not before it. Raises
    VersionError when shard count or routing differ from the served version's: the log is kept by shard.
    """
    if store.current() is None:
        return Content(items)
    base = _served(store)
    if not base.fits(platform):
        raise VersionError(
            f"the served version {base.version} has {len(base.shards)} shards and this file has {platform.shards} or "
            "routes otherwise; changes over HTTP are in logs of its shards: `recsys apply` changes the shards of a "
            "platform that runs, `recsys build --from-live --promote` those of one that does not"
        )
    texts = {item.passage() for item in items}
    encoded: dict[str, Floats] = {}
    if base.fingerprint == fingerprint:
        for shard in range(len(base.shards)):
            before, vectors = snapshot(store, base, shard)
            encoded |= {i.passage(): v for i, v in zip(before, vectors, strict=True) if i.passage() in texts}
    cursors = [shard.cursor for shard in base.shards]
    starts = [*trimmed, *[START_OF_LOG] * len(cursors)]
    reached = [max(pair, key=after) for pair in zip(cursors, starts, strict=False)]
    return Content(items, encoded, reached, layout=base.layout)


def served_items(store: VersionStore) -> list[Item]:
    """Return all items of the served version in catalogue order. Its files are fetched and checked.

    Raises VersionError when no version is served, or a file is missing or damaged.
    """
    base = _served(store)
    shards = range(len(base.shards))
    return list(in_catalogue_order(item for n in shards for item in read_items(store.files(base.version, n))))


def learned_so_far(store: VersionStore, fingerprint: str) -> Trained | None:
    """Return the served version's model for a version of other items. None: it has none, or has another encoder."""
    current = store.current()
    manifest = None if current is None else store.manifest(current)
    return read_model(store, manifest) if manifest is not None and manifest.fingerprint == fingerprint else None


def _served(store: VersionStore) -> Manifest:
    current = store.current()
    if current is None:
        raise VersionError("no version is served yet; build one of files first")
    return store.manifest(current)


async def _cut(store: VersionStore, redis: Redis, base: Manifest, layout: Layout) -> Cut:
    path = _cut_file(store)
    cut = _read_cut(path)
    read = [LogId(base.layout, n) for n in range(len(base.shards))]
    filled = [LogId(layout.id, n) for n in range(layout.router.shards)]
    if (
        cut is not None
        and (cut.base, cut.layout) == (base.version, layout.id)
        and time.time() - cut.at < _RESUMED_WITHIN_S
        and await _whole(redis, [*zip(read, cut.read, strict=True), *zip(filled, cut.cursors, strict=True)])
    ):
        return cut
    starts = dict.fromkeys(filled, START_OF_LOG) | dict(zip(read, [shard.cursor for shard in base.shards], strict=True))
    reached = await ends(redis, starts)
    cut = Cut(
        base=base.version,
        read=[reached[log] for log in read],
        layout=layout.id,
        cursors=[reached[log] for log in filled],
        at=time.time(),
    )
    replace(path, cut.model_dump_json().encode())
    return cut


async def _whole(redis: Redis, cursors: Sequence[tuple[LogId, str]]) -> bool:
    """Return whether each log still contains its cursor and was not trimmed past it."""
    for (layout, shard), cursor in cursors:
        log = ItemLog(redis, layout)
        if after(await log.trimmed(shard)) > after(cursor) or not await log.holds(shard, cursor):
            return False
    return True


def forget_cut(store: VersionStore) -> None:
    """Delete the stored cut: the next compaction cuts the log where it ends then."""
    _cut_file(store).unlink(missing_ok=True)


def _cut_file(store: VersionStore) -> Path:
    return store.drafts.folder / "cut.json"


def _read_cut(path: Path) -> Cut | None:
    try:
        return Cut.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def snapshot(store: VersionStore, base: Manifest, shard: int) -> tuple[list[Item], Floats]:
    """Return the items of a version's shard, whose files are checked, and the (n, d) float32 vectors of their texts."""
    folder = store.files(base.version, shard)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return read_items(folder), np.array(
        vectors[:, : base.encoder.dimension], np.float32
    )  # the text part, see `model/space.py`


async def _shard(
    store: VersionStore, redis: Redis, base: Manifest, shard: int, end: str, fingerprint: str
) -> tuple[dict[str, Item], dict[str, Floats]]:
    """Return a shard's items with its log applied up to `end`, and the vectors of texts that this encoder encoded."""
    before, vectors = snapshot(store, base, shard)
    items = {item.item_id: item for item in before}
    same = base.fingerprint == fingerprint
    encoded = {item.passage(): v for item, v in zip(before, vectors, strict=True)} if same else {}
    log, cursor = ItemLog(redis, base.layout), base.shards[shard].cursor
    while after(cursor) < after(end):
        entries = await log.read(shard, cursor)
        if not entries and after(end) <= after(await log.trimmed(shard)):
            break  # the log was trimmed to `end`; `log.check` below raises unless the snapshot includes it
        if not entries:
            raise VersionError(f"the log of shard-{shard} ends before {end}, where it stood a moment ago; build again")
        for entry in entries:
            if after(entry.sequence) > after(end):
                break
            change = entry.change
            if isinstance(change, Upsert):
                items[change.item.item_id] = change.item
                if change.fingerprint == fingerprint:
                    encoded[change.item.passage()] = change.vector
            elif isinstance(change, Delete):
                items.pop(change.item_id, None)
        cursor = entries[-1].sequence
    # Check last: the log may have been trimmed while it was read.
    await log.check(shard, base.version, base.shards[shard].cursor, base.created_at.timestamp())
    return items, encoded


def declared_item(item: Item, base: Manifest, declared: Mapping[str, AttributeType]) -> Item:
    """Return the item with the attributes declared now. Raise BadInput for a value of another type."""
    if dict(declared) == base.attributes:
        return item
    attributes = {name: value for name, value in item.attributes.items() if name in declared}
    try:
        checked = check_attributes(attributes, declared)
    except BadInput as wrong:
        raise BadInput(f"item {item.item_id!r}: {wrong}; send it anew or declare the attribute as before") from None
    return dataclasses.replace(item, attributes=checked)
