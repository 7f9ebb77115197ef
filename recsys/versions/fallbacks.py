"""The versions that may be served: the promoted one, and earlier ones whose log is still written."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from recsys.errors import VersionError
from recsys.routing import Layout
from recsys.versions.store import VersionStore

_AGAIN_S = 60.0
"""Seconds after which manifests are read again although the list is unchanged: one may have been unreadable before."""


class Servable:
    def __init__(self, store: VersionStore, written: Callable[[], Sequence[Layout]] = tuple) -> None:
        """`written`: the layouts that the item log is written for, beside that of the promoted version."""
        self._store = store
        self._written = written
        self._of: tuple[list[str], Sequence[Layout]] = ([], ())
        self._fitting: list[str] = []
        self._layouts: dict[str, Layout] = {}
        self._read_at = 0.0

    def read(self) -> list[str]:
        """Return the promoted version, then those served before it, newest first.

        Versions of a layout that is written no longer are left out: going back to them would lose writes. Raises
        VersionError when no version is promoted, and OSError when the store cannot be reached.
        """
        served = self._store.served()
        if not served:
            raise VersionError("no version is promoted; `recsys build` and `recsys promote` make one")
        now, written = time.monotonic(), self._written()
        if (served, written) != self._of or now - self._read_at > _AGAIN_S:
            self._layouts = {v: layout for v in served if (layout := self._read_layout(v)) is not None}
            # Where the promoted version cannot be read, the newest that can be says what is written.
            newest = next(iter(self._layouts.values()), None)
            earlier = [v for v in served[1:] if v in self._layouts and self._layouts[v] in (newest, *written)]
            self._fitting = [served[0], *earlier]
            self._of, self._read_at = (served, written), now
        return self._fitting

    def layout(self, version: str) -> Layout | None:
        """Return the layout of a version; None: its manifest cannot be read."""
        return self._layouts.get(version) or self._read_layout(version)

    def _read_layout(self, version: str) -> Layout | None:
        try:
            return self._store.manifest(version).built_for
        except VersionError:  # most earlier versions have been removed
            return None
