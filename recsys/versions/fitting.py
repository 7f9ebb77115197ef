"""The version that a config file can serve. Nothing is imported that only a build needs: every start asks."""

from __future__ import annotations

from recsys.config.whole import Config
from recsys.encoders.base import fingerprint
from recsys.errors import VersionError
from recsys.versions.manifest import Manifest
from recsys.versions.store import VersionStore


def fitting_version(config: Config) -> Manifest | None:
    """Return the version to serve. None: no version is promoted.

    Raises VersionError when its shard count or routing differ from the platform's.
    """
    store, platform = VersionStore.of(config.platform), config.platform
    current = store.current()
    if current is None:
        return None
    manifest = store.manifest(current)
    if not manifest.fits(platform):
        raise VersionError(
            f"version {current} has {len(manifest.shards)} shards and the config file says shards: {platform.shards}, "
            "or routes otherwise; set it back, or make a version that fits with: recsys build --from-live --promote"
        )
    return manifest


def served_version(config: Config, *, at_least: int) -> Manifest | None:
    """Return the served version if it has the config file's encoder and shards, and this number of items."""
    store, platform = VersionStore.of(config.platform), config.platform
    current = store.current()
    manifest = None if current is None else store.manifest(current)
    if manifest is None or manifest.items < at_least or not manifest.fits(platform):
        return None
    return manifest if manifest.fingerprint == fingerprint(platform.encoder) else None
