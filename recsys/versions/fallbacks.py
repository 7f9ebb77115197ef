"""The versions that may be served: the promoted one, and earlier ones with the platform's shards."""

from __future__ import annotations

import time

from recsys.config.platform import Platform
from recsys.errors import VersionError
from recsys.versions.store import VersionStore

_AGAIN_S = 60.0
"""Seconds after which manifests are read again although the list is unchanged: one may have been unreadable before."""


class Servable:
    def __init__(self, store: VersionStore, platform: Platform) -> None:
        self._store = store
        self._platform = platform
        self._served: list[str] = []
        self._fitting: list[str] = []
        self._read_at = 0.0

    def read(self) -> list[str]:
        """Return the promoted version, then those served before it, newest first.

        Versions with another shard count or routing are left out: their log is another, and going back to them would
        lose writes. Raises VersionError when no version is promoted, and OSError when the store cannot be reached.
        """
        served = self._store.served()
        if not served:
            raise VersionError("no version is promoted; `recsys build` and `recsys promote` make one")
        now = time.monotonic()
        if served != self._served or now - self._read_at > _AGAIN_S:
            self._fitting = [served[0], *filter(self._fits, served[1:])]
            self._served, self._read_at = served, now
        return self._fitting

    def _fits(self, version: str) -> bool:
        try:
            return self._store.manifest(version).fits(self._platform)
        except VersionError:  # most earlier versions have been removed
            return False
