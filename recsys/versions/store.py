"""Published versions: complete folders beside each other, and one file that says which is served.

<root>/                     a folder, or an object store (see `storage.py`)
├── CURRENT                 JSON: the served version and those served before it, replaced atomically
├── .drafts/                what is being built (see `files.py`)
└── <version>/
    ├── manifest.json       what it is, with a checksum of every file
    ├── model.npz           what was learned, for the builds to come
    ├── ranker.txt          the ranking model, where one was trained and was better than the blend
    └── shard-0/ …          see `shard/snapshot.py`
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from recsys.config import Platform
from recsys.errors import VersionError
from recsys.files import Drafts, sha256
from recsys.model.space import Space
from recsys.ranking.served_version import Serve
from recsys.ranking.signals import SIGNALS
from recsys.ranking.tree_ranker import Ranker
from recsys.shard.recall import inspect
from recsys.shard.shard import Shard
from recsys.shard.snapshot import read_shard
from recsys.versions.manifest import MODEL, RANKER, Manifest
from recsys.versions.storage import CURRENT, MANIFEST, storage

_REMEMBERED = 100
"""Earlier versions that CURRENT remembers for rollback."""


class _Current(BaseModel):
    version: str
    previous: list[str] = []
    since: float | None = None
    """Unix seconds from which on `version` is served; None: not noted."""
    seconds: dict[str, float] = {}
    """How long each of `previous` was served, all its times together."""

    def ended(self, now: float) -> dict[str, float]:
        """`seconds` with those of `version`, whose time ends now."""
        before = self.seconds.get(self.version, 0.0)
        return {**self.seconds, self.version: before + max(0.0, now - (now if self.since is None else self.since))}


class VersionStore:
    def __init__(self, where: str | Path, cache: Path | None = None) -> None:
        """`where`: a folder or an fsspec URL; `cache`: the folder for copies of what a URL holds."""
        self._storage = storage(where, cache)
        self.root = self._storage.folder
        self.drafts = Drafts(self.root / ".drafts")

    @classmethod
    def of(cls, platform: Platform) -> VersionStore:
        home = platform.home()
        return cls(platform.versions_url or home / "versions", home / "versions-cache")

    def versions(self) -> list[Manifest]:
        """All published ones, oldest first; a folder without a valid manifest is none.

        Raises OSError when one cannot be read now: who trims the log by this list must not take it for removed.
        """
        found = []
        for name in self._storage.versions():
            with contextlib.suppress(FileNotFoundError, ValidationError):
                found.append(self._manifest(name))
        return sorted(found, key=lambda m: m.version)

    def manifest(self, version: str) -> Manifest:
        """Raises VersionError when there is no such version, or its manifest cannot be read."""
        self.folder(version)
        try:
            return self._manifest(version)
        except FileNotFoundError:
            raise VersionError(f"there is no version {version!r}; `recsys versions` lists them") from None
        except (ValidationError, OSError) as error:
            raise VersionError(f"the manifest of version {version} cannot be read: {error}") from error

    def _manifest(self, version: str) -> Manifest:
        return Manifest.model_validate_json(self._storage.read(f"{version}/{MANIFEST}"))

    def folder(self, version: str) -> Path:
        """Where its files are, or will be once they are fetched."""
        if not version or version.startswith(".") or "/" in version or "\0" in version:
            raise VersionError(f"{version!r} is not the name of a version")
        return self.root / version

    def current(self) -> str | None:
        """The version to serve; None before the first is promoted."""
        known = self._read_current()
        return known.version if known else None

    def served(self) -> list[str]:
        """The version to serve, and those served before it, newest first."""
        known = self._read_current()
        return [known.version, *known.previous] if known else []

    def seconds_served(self) -> dict[str, float]:
        """How long each of `served` was, without those that `rollback` left: it forgets them."""
        known = self._read_current()
        return known.ended(time.time()) if known else {}

    def new_name(self) -> str:
        """Sorts by time: v20260131-120000, with a counter when two fall into one second. Microseconds are in it where
        several machines may build at once, each of which sees only its own lock: v20260131-120000-123456.
        """
        stamp = datetime.now(UTC).strftime("v%Y%m%d-%H%M%S-%f" if self._storage.shared else "v%Y%m%d-%H%M%S")
        same = [re.fullmatch(rf"{stamp}(?:-(\d+))?", name) for name in self._storage.versions()]
        # Behind the largest that is there: earlier ones of this second may have been removed.
        number = max((int(known[1] or 0) for known in same if known), default=-1) + 1
        return f"{stamp}-{number}" if number else stamp

    def publish(self, draft: Path, manifest: Manifest) -> None:
        """Make a finished draft visible, all at once."""
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        self._storage.publish(draft, manifest.version)

    def remove(self, version: str) -> None:
        """Delete a version that is not the one to serve; nobody can go back to it."""
        self.folder(version)
        with self.drafts.changing():
            known = self._read_current(fresh=True)
            if known is not None and known.version == version:
                raise VersionError(f"version {version} is the one to serve; promote another first")
            if known is not None and version in known.previous:
                previous = [name for name in known.previous if name != version]
                seconds = {name: known.seconds[name] for name in previous if name in known.seconds}
                self._write_current(known.model_copy(update={"previous": previous, "seconds": seconds}))
        self._storage.remove(version)

    def verify(self, version: str, on_file: Callable[[str], None] = lambda _: None) -> Manifest:
        """Check every file against its checksum. Raises VersionError naming the first that differs."""
        manifest = self.manifest(version)
        for shard in range(len(manifest.shards)):
            self._verify_shard(manifest, shard, on_file)
        if manifest.ranker_sha256 is not None:
            self._verify_file(version, RANKER, manifest.ranker_sha256, on_file)
        if manifest.model_sha256 is not None:
            self._verify_file(version, MODEL, manifest.model_sha256, on_file)
        return manifest

    def checked(self, version: str, name: str, expected: str) -> Path:
        """A file of a version. Raises VersionError when it is missing or was changed."""
        self._verify_file(version, name, expected, lambda _: None)
        return self.folder(version) / name

    def serve(self, version: str) -> Serve:
        """What a composer needs of a version. Raises VersionError when a file is missing or was changed, and when the
        version learned to blend signals that this release does not have.
        """
        manifest = self.manifest(version)
        if unknown := (manifest.weights or {}).keys() - SIGNALS:
            raise VersionError(
                f"version {version} blends {', '.join(sorted(unknown))}, which this release does not have; train again"
            )
        ranker = None
        if manifest.ranker_sha256 is not None:
            ranker = Ranker(self.checked(version, RANKER, manifest.ranker_sha256).read_text())
        space = manifest.space or Space(text=manifest.encoder.dimension)
        return Serve(version, manifest.model, space, manifest.fingerprint, manifest.weights, ranker)

    def files(self, version: str, shard: int) -> Path:
        """The folder of a shard's files, each checked. Raises VersionError when one is missing or was changed."""
        manifest = self.manifest(version)
        if shard >= len(manifest.shards):
            raise VersionError(f"version {version} has {len(manifest.shards)} shards, and shard-{shard} was asked for")
        self._verify_shard(manifest, shard, lambda _: None)
        return self.folder(version) / f"shard-{shard}"

    def load(self, version: str, shard: int) -> Shard:
        """A shard, ready to search. Raises VersionError when a file is damaged or the index does not fit the items."""
        folder, manifest = self.files(version, shard), self.manifest(version)
        known = manifest.shards[shard]
        loaded = read_shard(folder, version, manifest.index, manifest.attributes, known.cursor)
        if manifest.tuned is not None:
            loaded.least_ef_search = manifest.tuned.ef_search
        inspect(loaded, known.items)
        return loaded

    def inspect(self, version: str) -> Manifest:
        """Open a version as shards and composers do, one shard after another.

        Raises VersionError when a file is damaged, item count, recall or self-lookup of a shard is wrong, or this
        release cannot serve it.
        """
        manifest = self.manifest(version)
        self.serve(version)
        if manifest.model_sha256 is not None:
            self.checked(version, MODEL, manifest.model_sha256)
        for shard in range(len(manifest.shards)):
            self.load(version, shard)
        return manifest

    def promote(self, version: str, instead_of: str | None = None) -> Manifest:
        """Serve this version from now on; running shards and composers follow. Its checksums are all that is looked
        at: see `promotion.py`. VersionError as for `switch`.
        """
        manifest = self.verify(version)
        self.switch(version, instead_of)
        return manifest

    def switch(self, version: str, instead_of: str | None = None) -> None:
        """Write that this version is served. Raises VersionError when another one than `instead_of` is by now; None:
        whatever is.
        """
        with self.drafts.changing():
            known = self._read_current(fresh=True)
            if instead_of is not None and (known is None or known.version != instead_of):
                now = known.version if known else "none"
                raise VersionError(
                    f"version {version} was made to follow {instead_of}, and {now} is served by now; {now} stays, "
                    "build again to follow it"
                )
            if known is None or known.version != version:
                before = [known.version, *known.previous] if known else []
                previous = [v for v in dict.fromkeys(before) if v != version]  # who goes back and forth loses no third
                kept, since = previous[:_REMEMBERED], time.time()
                ended = known.ended(since) if known else {}
                seconds = {name: ended[name] for name in (version, *kept) if name in ended}
                self._write_current(_Current(version=version, previous=kept, since=since, seconds=seconds))

    def rollback(self) -> Manifest:
        """Serve again what was served before. Raises VersionError when nothing was, and as for `go_back`."""
        served = self.served()
        if len(served) < 2:
            raise VersionError("there is no earlier version to go back to")
        manifest = self.verify(served[1])
        self.go_back(served[0], served[1])
        return manifest

    def go_back(self, served: str, earlier: str) -> None:
        """Write that the `earlier` version is served instead of the `served` one, which is forgotten.

        Raises VersionError when CURRENT says something else than that by now: what was promoted meanwhile stays.
        """
        with self.drafts.changing():
            known = self._read_current(fresh=True)
            if known is None or [known.version, *known.previous[:1]] != [served, earlier]:
                now = known.version if known else "none"
                raise VersionError(
                    f"while {earlier} was looked at, {served} was replaced: {now} is served now; look at `recsys "
                    "versions`, then roll back again"
                )
            seconds = {name: s for name, s in known.seconds.items() if name != served}
            self._write_current(
                _Current(version=earlier, previous=known.previous[1:], since=time.time(), seconds=seconds)
            )

    def _read_current(self, *, fresh: bool = False) -> _Current | None:
        """`fresh`: as it is now; else as it was within the last second, where it is far away."""
        try:
            return _Current.model_validate_json(self._storage.read(CURRENT, fresh=fresh))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise VersionError(f"{self.root / CURRENT} cannot be read: {error}") from error

    def _write_current(self, current: _Current) -> None:
        self._storage.write(CURRENT, current.model_dump_json().encode())

    def _verify_shard(self, manifest: Manifest, shard: int, on_file: Callable[[str], None]) -> None:
        for name, expected in manifest.shards[shard].sha256.items():
            self._verify_file(manifest.version, f"shard-{shard}/{name}", expected, on_file)

    def _verify_file(self, version: str, name: str, expected: str, on_file: Callable[[str], None]) -> None:
        path = self.folder(version) / name
        on_file(str(path))
        for again in (False, True):
            try:
                self._storage.fetch(version, [name], again=again)
            except FileNotFoundError:
                continue
            if path.exists() and sha256(path) == expected:
                break
        else:
            raise VersionError(
                f"{path} is missing or was changed (its checksum differs); build again, or `recsys rollback`"
            )
