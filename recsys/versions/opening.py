"""What composers and shard replicas make of a version's files, all checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys.errors import VersionError
from recsys.model.space import Space
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import Ranker
from recsys.versions.manifest import MODEL, RANKER, Manifest
from recsys.versions.store import VersionStore

if TYPE_CHECKING:
    from recsys.shard.shard import Shard


def open_serve(store: VersionStore, version: str) -> Serve:
    """Return what a composer needs of a version.

    Raises VersionError when a file is missing or was changed, and when the version's weights name signals that this
    release does not have.
    """
    manifest = store.manifest(version)
    if unknown := (manifest.weights or {}).keys() - SIGNALS:
        raise VersionError(
            f"version {version} blends {', '.join(sorted(unknown))}, which this release does not have; train again"
        )
    ranker = None
    if manifest.ranker_sha256 is not None:
        ranker = Ranker(store.checked(version, RANKER, manifest.ranker_sha256).read_text())
    space = manifest.space or Space(text=manifest.encoder.dimension)
    return Serve(version, manifest.model, space, manifest.fingerprint, manifest.built_for, manifest.weights, ranker)


def open_shard(store: VersionStore, version: str, shard: int) -> Shard:
    """Return a shard, ready to search.

    Raises VersionError when a file is damaged or the index does not fit the items.
    """
    from recsys.shard.inspection import inspect  # noqa: PLC0415 - pyarrow takes long to import, and composers need none
    from recsys.shard.snapshot import read_shard  # noqa: PLC0415

    folder, manifest = store.files(version, shard), store.manifest(version)
    entry = manifest.shards[shard]
    loaded = read_shard(folder, version, manifest.index, manifest.attributes, entry.cursor)
    if manifest.tuned is not None:
        loaded.least_ef_search = manifest.tuned.ef_search
    inspect(loaded, entry.items)
    return loaded


def open_whole(store: VersionStore, version: str) -> Manifest:
    """Open a version as shards and composers do, one shard at a time, and return its manifest.

    Raises VersionError when a file is damaged, when item count, recall or self-lookup of a shard are wrong, and when
    this release cannot serve the version.
    """
    manifest = store.manifest(version)
    open_serve(store, version)
    if manifest.model_sha256 is not None:
        store.checked(version, MODEL, manifest.model_sha256)
    for shard in range(len(manifest.shards)):
        open_shard(store, version, shard)
    return manifest
