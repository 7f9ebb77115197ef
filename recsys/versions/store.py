"""Published versions: one complete folder for each, and one file that names the served version.

<root>/                     a folder, or an object store (see `storage.py`)
├── CURRENT                 JSON, replaced atomically (see `current.py`)
├── .drafts/                unfinished builds (see `files.py`)
├── .verified/              which large files were checked (see `verified_files.py`)
└── <version>/
    ├── manifest.json       see `manifest.py`; it has a checksum of every file
    ├── canary.json         how it did, if it went out to a part of the users first
    ├── model.npz           the trained model, reused by later builds
    ├── ranker.txt          the tree ranker, if one was trained and was better than the blend
    └── shard-0/ …          see `shard/snapshot.py`
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from recsys.config.platform import Platform
from recsys.data.wording import first_fault
from recsys.errors import VersionError
from recsys.files import Drafts, sha256
from recsys.versions.canary_verdict import CanaryVerdict
from recsys.versions.current import Current
from recsys.versions.manifest import MODEL, RANKER, Manifest
from recsys.versions.storage import CURRENT, MANIFEST, storage
from recsys.versions.verified_files import VerifiedFiles

_CANARY = "canary.json"


class VersionStore:
    def __init__(self, where: str | Path, cache: Path | None = None) -> None:
        """`where`: a folder or an fsspec URL; `cache`: the folder for copies of the files behind a URL."""
        self._storage = storage(where, cache)
        self.root = self._storage.folder
        self.drafts = Drafts(self.root / ".drafts")
        self._verified = VerifiedFiles(self.root / ".verified")

    @classmethod
    def of(cls, platform: Platform) -> VersionStore:
        home = platform.home()
        return cls(platform.versions_url or home / "versions", home / "versions-cache")

    def versions(self) -> list[Manifest]:
        """Return all published versions, oldest first. A folder without a valid manifest is not a version.

        Raises OSError when a manifest cannot be read now: a caller that trims the log by this list must not take the
        version for removed.
        """
        manifests = []
        for name in self._storage.versions():
            with contextlib.suppress(FileNotFoundError, ValidationError):
                manifests.append(self._manifest(name))
        return sorted(manifests, key=lambda m: m.version)

    def manifest(self, version: str) -> Manifest:
        """Return a version's manifest. Raises VersionError when there is no such version, or it cannot be read."""
        self.folder(version)
        try:
            return self._manifest(version)
        except FileNotFoundError:
            raise VersionError(f"there is no version {version!r}; `recsys versions` lists them") from None
        except ValidationError as error:
            fault = first_fault(error, Manifest, whole="the file")
            raise VersionError(
                f"the manifest of version {version} cannot be read: {fault}; if another release of recsys has written "
                "it, build a version with this one"
            ) from error
        except OSError as error:
            raise VersionError(f"the manifest of version {version} cannot be read: {error}") from error

    def _manifest(self, version: str) -> Manifest:
        return Manifest.model_validate_json(self._storage.read(f"{version}/{MANIFEST}"))

    def folder(self, version: str) -> Path:
        """Return the folder for a version's files, fetched or not. Raises VersionError for an impossible name."""
        if not version or version.startswith(".") or "/" in version or "\0" in version:
            raise VersionError(f"{version!r} is not the name of a version")
        return self.root / version

    def note_canary(self, version: str, verdict: CanaryVerdict) -> None:
        """Keep with a version how it did. Raises VersionError when there is no such version."""
        self.manifest(version)
        self._storage.write(f"{version}/{_CANARY}", verdict.model_dump_json(indent=2).encode())

    def canary(self, version: str) -> CanaryVerdict | None:
        """Return how a version did that went out to a part of the users first. None: it did not."""
        try:
            return CanaryVerdict.model_validate_json(self._storage.read(f"{version}/{_CANARY}"))
        except (FileNotFoundError, ValidationError):
            return None

    def current(self) -> str | None:
        """Return the version to serve. None: no version was promoted yet."""
        current = self._read_current()
        return current.version if current else None

    def shaped(self, platform: Platform) -> Platform:
        """Return the platform with the shards of the version to serve: those of a running platform may have changed
        since its processes were started.
        """
        current = self.current()
        if current is None:
            return platform
        served = self.manifest(current)
        return platform.model_copy(update={"shards": len(served.shards), "routing": served.routing})

    def served(self) -> list[str]:
        """Return the version to serve, then those served before it, newest first."""
        current = self._read_current()
        return current.order if current else []

    def seconds_served(self) -> dict[str, float]:
        """Return for how many seconds each of `served` was served. A rollback forgets the version that it leaves."""
        current = self._read_current()
        return current.seconds_until(time.time()) if current else {}

    def record(self) -> Current | None:
        """Return what CURRENT says now. None: no version was promoted yet."""
        return self._read_current(fresh=True)

    def manifest_text(self, version: str) -> bytes:
        """Return the manifest as it is stored. Raises FileNotFoundError."""
        return self._storage.read(f"{version}/{MANIFEST}")

    def file(self, version: str, name: str) -> Path:
        """Return the path of a version's file, fetched and not checked. Raises FileNotFoundError."""
        path = self.folder(version) / name
        self._storage.fetch(version, [name])
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing")
        return path

    def add(self, folder: Path, version: str) -> None:
        """Make a complete version in a folder visible, all at once. The folder is moved. OSError where it is there."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._storage.publish(folder, version)

    def restore(self, current: Current) -> None:
        """Write CURRENT as it was at another time. For a platform that does not run."""
        with self.drafts.changing():
            self._write_current(current)

    def new_name(self) -> str:
        """Return a name that sorts by time: v20260131-120000, with a counter when the second has a version already.

        In an object store it has microseconds, v20260131-120000-123456: several machines may build at once, and a
        machine's lock excludes only its own builds.
        """
        stamp = datetime.now(UTC).strftime("v%Y%m%d-%H%M%S-%f" if self._storage.shared else "v%Y%m%d-%H%M%S")
        same = [re.fullmatch(rf"{stamp}(?:-(\d+))?", name) for name in self._storage.versions()]
        # Count on from the largest: earlier versions of this second may have been removed.
        number = max((int(match[1] or 0) for match in same if match), default=-1) + 1
        return f"{stamp}-{number}" if number else stamp

    def publish(self, draft: Path, manifest: Manifest) -> None:
        """Make a finished draft visible, all at once."""
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        self._storage.publish(draft, manifest.version)

    def remove(self, version: str) -> None:
        """Delete a version; a rollback cannot return to it. Raises VersionError when it is the served one."""
        self.folder(version)
        with self.drafts.changing():
            current = self._read_current(fresh=True)
            if current is not None and current.version == version:
                raise VersionError(f"version {version} is the one to serve; promote another first")
            if current is not None and version in current.previous:
                self._write_current(current.without(version))
        self._drop_indexes(version)
        self._verified.forget(version)
        self._storage.remove(version)

    def _drop_indexes(self, version: str) -> None:
        """Delete what its shards keep in a server of their own. What cannot be read refers to nothing."""
        from recsys.shard.snapshot import drop_index  # noqa: PLC0415 - pyarrow takes long to import

        with contextlib.suppress(FileNotFoundError, ValidationError, VersionError):
            manifest = self._manifest(version)
            for shard in range(len(manifest.shards) if manifest.index.server else 0):
                self._storage.fetch(version, [f"shard-{shard}/index.bin"])
                drop_index(self.folder(version) / f"shard-{shard}")

    def verify(self, version: str, on_file: Callable[[str], None] = lambda _: None) -> Manifest:
        """Check every file against its checksum. Raises VersionError naming the first that differs.

        `on_file` is called with the path of each file before it is read.
        """
        manifest = self.manifest(version)
        for shard in range(len(manifest.shards)):
            self._verify_shard(manifest, shard, on_file)
        if manifest.ranker_sha256 is not None:
            self._verify_file(version, RANKER, manifest.ranker_sha256, on_file)
        if manifest.model_sha256 is not None:
            self._verify_file(version, MODEL, manifest.model_sha256, on_file)
        return manifest

    def checked(self, version: str, name: str, expected: str) -> Path:
        """Return the path of a version's file. Raises VersionError when its checksum is not the `expected` one."""
        self._verify_file(version, name, expected, lambda _: None)
        return self.folder(version) / name

    def files(self, version: str, shard: int) -> Path:
        """Return the folder of a shard's files, all checked. Raises VersionError when one is missing or was changed."""
        manifest = self.manifest(version)
        if shard >= len(manifest.shards):
            raise VersionError(f"version {version} has {len(manifest.shards)} shards, and shard-{shard} was asked for")
        self._verify_shard(manifest, shard, lambda _: None)
        return self.folder(version) / f"shard-{shard}"

    def promote(self, version: str, instead_of: str | None = None) -> Manifest:
        """Serve this version from now on; running shards and composers follow. Only its checksums are checked;
        `promotion.promote` checks more. Raises VersionError as `switch` does.
        """
        manifest = self.verify(version)
        self.switch(version, instead_of)
        return manifest

    def switch(self, version: str, instead_of: str | None = None) -> None:
        """Write to CURRENT that this version is served. `instead_of`: the version that must still be served; None: any.

        Raises VersionError when another version than `instead_of` is served by now.
        """
        with self.drafts.changing():
            current = self._read_current(fresh=True)
            if instead_of is not None and (current is None or current.version != instead_of):
                now = current.version if current else "none"
                raise VersionError(
                    f"version {version} was made to follow {instead_of}, and {now} is served by now; {now} stays, "
                    "build again to follow it"
                )
            if current is None or current.version != version:
                self._write_current(Current.after(current, version, time.time()))

    def rollback(self) -> Manifest:
        """Serve the previous version again. Raises VersionError when there is none, and as `go_back` does."""
        served = self.served()
        if len(served) < 2:
            raise VersionError("there is no earlier version to go back to")
        manifest = self.verify(served[1])
        self.go_back(served[0], served[1])
        return manifest

    def go_back(self, served: str, earlier: str) -> None:
        """Write to CURRENT that the `earlier` version is served. The `served` version is forgotten.

        Raises VersionError when these are no longer the served and the previous version: a version that was promoted
        meanwhile stays.
        """
        with self.drafts.changing():
            current = self._read_current(fresh=True)
            if current is None or current.order[:2] != [served, earlier]:
                now = current.version if current else "none"
                raise VersionError(
                    f"while {earlier} was looked at, {served} was replaced: {now} is served now; look at `recsys "
                    "versions`, then roll back again"
                )
            self._write_current(current.gone_back(time.time()))

    def _read_current(self, *, fresh: bool = False) -> Current | None:
        """`fresh`: read it now; otherwise a read of an object store may be a second old."""
        try:
            return Current.model_validate_json(self._storage.read(CURRENT, fresh=fresh))
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise VersionError(f"{self.root / CURRENT} cannot be read: {error}") from error

    def _write_current(self, current: Current) -> None:
        self._storage.write(CURRENT, current.model_dump_json().encode())

    def _verify_shard(self, manifest: Manifest, shard: int, on_file: Callable[[str], None]) -> None:
        for name, expected in manifest.shards[shard].sha256.items():
            self._verify_file(manifest.version, f"shard-{shard}/{name}", expected, on_file)

    def _verify_file(self, version: str, name: str, expected: str, on_file: Callable[[str], None]) -> None:
        path = self.folder(version) / name
        on_file(str(path))
        if self._verified.has(version, path, expected):
            return
        for again in (False, True):
            try:
                self._storage.fetch(version, [name], again=again)
            except FileNotFoundError:
                continue
            if path.exists() and sha256(path) == expected:
                self._verified.note(version, path, expected)
                break
        else:
            raise VersionError(
                f"{path} is missing or was changed (its checksum differs); build again, or `recsys rollback`"
            )
