"""Which versions may be served: the promoted one, and those before it that the platform's shards can go back to."""

from __future__ import annotations

import time

from recsys.config import Platform
from recsys.errors import VersionError
from recsys.versions.store import VersionStore

_AGAIN_S = 60.0
"""Seconds after which manifests are read again though the list is the same: the store may have been away."""


class Servable:
    def __init__(self, store: VersionStore, platform: Platform) -> None:
        self._store = store
        self._platform = platform
        self._served: list[str] = []
        self._fitting: list[str] = []
        self._read_at = 0.0

    def read(self) -> list[str]:
        """The promoted version first, then those served before it, newest first, without those of other shards.

        A version of other shards has its items and its part of the log elsewhere: going back to it loses writes. Raises
        VersionError when none is promoted, and OSError when the store is away.
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
        except VersionError:  # most of them are removed by now
            return False
