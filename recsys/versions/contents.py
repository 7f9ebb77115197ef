"""What is live, as the content of a new version: the served snapshot with its log applied."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from recsys.config import AttributeType, Platform
from recsys.data.validation import check_attributes
from recsys.datatypes import Floats, Item
from recsys.encoders.catalogue import Progress
from recsys.errors import BadInput, VersionError
from recsys.files import replace
from recsys.model.trained import Trained
from recsys.shard.snapshot import read_items
from recsys.state.item_log import START_OF_LOG, Delete, ItemLog, Upsert, after
from recsys.state.presence import everyone
from recsys.state.tie_breaking import in_catalogue_order
from recsys.versions.build import Content
from recsys.versions.manifest import Manifest
from recsys.versions.model_files import read_model
from recsys.versions.store import VersionStore

_RESUMED_WITHIN_S = 6 * 3600.0
"""A build that died longer ago begins anew: its share of the log is old."""


class Cut(BaseModel):
    """Up to where a compaction takes the log. Kept while the build runs: one that goes on cuts at the same place."""

    base: str
    cursors: list[str]
    """By shard; as many as the base or the platform has, whichever has more."""
    at: float
    """Unix seconds."""


async def live_content(
    store: VersionStore, redis: Redis, platform: Platform, fingerprint: str, progress: Progress
) -> Content:
    """The items of the served version with every change that is acknowledged now. To be used within `drafts.alone()`.

    Raises VersionError when no version is served, or when the shards are to be others while writes may still come:
    those would go into logs of shards that are no more.
    """
    base = _served(store)
    if not base.fits(platform) and await everyone(redis):
        raise VersionError(
            f"the platform runs with {len(base.shards)} shards and this file has {platform.shards} or routes "
            "otherwise: stop it with `recsys down`, then build again; what is written meanwhile would be lost"
        )
    cut = await _cut(store, redis, base, platform)
    items: dict[str, Item] = {}
    known: dict[str, Floats] = {}
    for shard in range(len(base.shards)):
        progress("read", shard, len(base.shards))
        held, vectors = await _shard(store, redis, base, shard, cut.cursors[shard], fingerprint)
        items |= held
        known |= vectors
    progress("read", len(base.shards), len(base.shards))
    declared = [_declared(item, base, platform.attributes) for item in in_catalogue_order(items.values())]
    return Content(declared, known, cut.cursors, base.version)


def file_content(
    store: VersionStore,
    items: Sequence[Item],
    platform: Platform,
    fingerprint: str,
    trimmed: Sequence[str] = (),
) -> Content:
    """Items from files. Changes in the log since the served version's snapshot stay on top of them.

    Texts that the served version holds by this encoder are not encoded again. `trimmed`: up to where the log of each
    shard was trimmed, where that is known; of a version whose log is gone the new one takes what is left. Raises
    VersionError when the shards are to be others than the served version's: its log is theirs.
    """
    if store.current() is None:
        return Content(items)
    base = _served(store)
    if not base.fits(platform):
        raise VersionError(
            f"the served version {base.version} has {len(base.shards)} shards and this file has {platform.shards} or "
            "routes otherwise; changes over HTTP are in logs of its shards: build with --from-live first"
        )
    texts = {item.passage() for item in items}
    known: dict[str, Floats] = {}
    if base.fingerprint == fingerprint:
        for shard in range(len(base.shards)):
            held, vectors = _snapshot(store, base, shard)
            known |= {i.passage(): v for i, v in zip(held, vectors, strict=True) if i.passage() in texts}
    cursors = [shard.cursor for shard in base.shards]
    left = [*trimmed, *[START_OF_LOG] * len(cursors)]
    return Content(items, known, [max(pair, key=after) for pair in zip(cursors, left, strict=False)])


def served_items(store: VersionStore) -> list[Item]:
    """All items of the served version in the order of a catalogue, out of files that are fetched and checked.

    Raises VersionError when no version is served, or a file is missing or damaged.
    """
    base = _served(store)
    shards = range(len(base.shards))
    return in_catalogue_order(item for n in shards for item in read_items(store.files(base.version, n)))


def learned_so_far(store: VersionStore, fingerprint: str) -> Trained | None:
    """What the served version learned, for a version of other items by the same encoder; None: nothing."""
    current = store.current()
    manifest = None if current is None else store.manifest(current)
    return read_model(store, manifest) if manifest is not None and manifest.fingerprint == fingerprint else None


def _served(store: VersionStore) -> Manifest:
    current = store.current()
    if current is None:
        raise VersionError("no version is served yet; build one of files first")
    return store.manifest(current)


async def _cut(store: VersionStore, redis: Redis, base: Manifest, platform: Platform) -> Cut:
    path = _cut_file(store)
    known = _read_cut(path)
    shards = max(len(base.shards), platform.shards)
    log = ItemLog(redis)
    if (
        known is not None
        and known.base == base.version
        and len(known.cursors) == shards
        and time.time() - known.at < _RESUMED_WITHIN_S
        and await _whole(log, known.cursors)
    ):
        return known
    held = [*(shard.cursor for shard in base.shards), *[START_OF_LOG] * shards]
    cut = Cut(base=base.version, cursors=[await log.end(n, held[n]) for n in range(shards)], at=time.time())
    replace(path, cut.model_dump_json().encode())
    return cut


async def _whole(log: ItemLog, cursors: Sequence[str]) -> bool:
    """Whether each log is still the one that was cut, and not trimmed past the cut."""
    for shard, cursor in enumerate(cursors):
        if after(await log.trimmed(shard)) > after(cursor) or not await log.holds(shard, cursor):
            return False
    return True


def forget_cut(store: VersionStore) -> None:
    """For a build that cannot go on where it was: the next one takes the log as it stands then."""
    _cut_file(store).unlink(missing_ok=True)


def _cut_file(store: VersionStore) -> Path:
    return store.drafts.folder / "cut.json"


def _read_cut(path: Path) -> Cut | None:
    try:
        return Cut.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _snapshot(store: VersionStore, base: Manifest, shard: int) -> tuple[list[Item], Floats]:
    folder = store.files(base.version, shard)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return read_items(folder), np.array(vectors[:, : base.encoder.dimension])  # the text part, see `model/space.py`


async def _shard(
    store: VersionStore, redis: Redis, base: Manifest, shard: int, end: str, fingerprint: str
) -> tuple[dict[str, Item], dict[str, Floats]]:
    """A shard's items after its log up to `end`, and vectors by this encoder of texts they had."""
    held, vectors = _snapshot(store, base, shard)
    items = {item.item_id: item for item in held}
    same = base.fingerprint == fingerprint
    known = {item.passage(): v for item, v in zip(held, vectors, strict=True)} if same else {}
    log, cursor = ItemLog(redis), base.shards[shard].cursor
    while after(cursor) < after(end):
        entries = await log.read(shard, cursor)
        if not entries and after(end) <= after(await log.trimmed(shard)):
            break  # all of it was trimmed: the snapshot holds it, which the check says
        if not entries:
            raise VersionError(f"the log of shard-{shard} ends before {end}, where it stood a moment ago; build again")
        for entry in entries:
            if after(entry.sequence) > after(end):
                break
            change = entry.change
            if isinstance(change, Upsert):
                items[change.item.item_id] = change.item
                if change.fingerprint == fingerprint:
                    known[change.item.passage()] = change.vector
            elif isinstance(change, Delete):
                items.pop(change.item_id, None)
        cursor = entries[-1].sequence
    # Last, for it may have been trimmed meanwhile.
    await log.check(shard, base.version, base.shards[shard].cursor, base.created_at.timestamp())
    return items, known


def _declared(item: Item, base: Manifest, declared: Mapping[str, AttributeType]) -> Item:
    """The item with the attributes that the platform declares now. BadInput for a value that does not fit any more."""
    if dict(declared) == base.attributes:
        return item
    kept = {name: value for name, value in item.attributes.items() if name in declared}
    try:
        checked = check_attributes(kept, declared)
    except BadInput as wrong:
        raise BadInput(f"item {item.item_id!r}: {wrong}; send it anew or declare the attribute as before") from None
    return Item(item.item_id, item.title, item.text, checked, item.created_at)
