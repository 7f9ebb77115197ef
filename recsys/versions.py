"""Published versions: complete folders beside each other, and one file that says which is served.

<root>/                     a folder, or an object store (see `storage.py`)
├── CURRENT                 JSON: the served version and those served before it, replaced atomically
├── .drafts/                what is being built (see `drafts.py`)
└── <version>/
    ├── manifest.json       what it is, with a checksum of every file
    ├── model.npz           what was learned, for the builds to come
    ├── ranker.txt          the ranking model, where one was trained and was better than the blend
    └── shard-0/ …          see `snapshot.py`
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.comparison import Comparison
from recsys.config import AttributeType, EncoderSpec, IndexSpec, Platform, RoutingSpec, SignalName
from recsys.drafts import Drafts
from recsys.errors import VersionError
from recsys.evaluation import inspect
from recsys.ranker import Ranker
from recsys.serving import Serve
from recsys.shard import Shard
from recsys.snapshot import read_shard
from recsys.space import Space
from recsys.storage import CURRENT, MANIFEST, storage

RANKER = "ranker.txt"
MODEL = "model.npz"
_REMEMBERED = 100
"""Earlier versions that CURRENT remembers for rollback."""


class ShardManifest(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    items: int
    cursor: str
    """The log entry that the snapshot contains last; replicas go on behind it."""
    sha256: dict[str, str]
    """Of each file."""


class ModelCard(BaseModel):
    """How a model came about, and how good it was on the interactions that were kept from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    data_sha256: str
    """Of the interactions that it was trained on."""
    users: int
    items: int
    events: int
    until: float | None = None
    """Unix seconds of the newest of them; None: trained before this was noted."""
    seed: int
    seconds: float
    """What training took."""
    parameters: dict[str, float]
    """Chosen on validation."""
    validation: dict[str, float]
    """NDCG@10 over the validation cases: of the operator, of the served blend, of the ranker."""
    comparison: Comparison | None = None
    """With the version served before it; None: it was published without one."""


class Manifest(BaseModel):
    """What a version is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    created_at: datetime
    items: int
    encoder: EncoderSpec
    fingerprint: str
    """Of the encoder; see `encoder.fingerprint`."""
    index: IndexSpec
    routing: RoutingSpec
    attributes: dict[str, AttributeType]
    shards: list[ShardManifest]
    recall_at_10: float | None
    """Of the search that will be served, against exact search; None for an empty version."""
    self_lookup: float | None = None
    """Share of sampled items that a search for their own vector finds; None: not measured."""
    base: str | None = None
    """The version whose items and log it was compacted from; None: it was built from files."""
    cut: list[str] = []
    """Where the log of every shard stood that was compacted into it: of more shards than its own, where those have
    become fewer."""
    model: str = "text-blend"
    """What ranks: until models are trained, the blend of text likeness, popularity and trend."""
    space: Space | None = None
    """What the vectors are made of; None: texts alone."""
    weights: dict[SignalName, float] | None = None
    """The blend that was learned; None: the scenarios' own."""
    card: ModelCard | None = None
    ranker_sha256: str | None = None
    """Of `ranker.txt`; None: there is none."""
    model_sha256: str | None = None
    """Of `model.npz`, by which later versions of other items go on with what was learned; None: nothing was."""

    def fits(self, platform: Platform) -> bool:
        """Whether its shards are the platform's: as many, and each owning the same items."""
        return len(self.shards) == platform.shards and self.routing == platform.routing


class _Current(BaseModel):
    version: str
    previous: list[str] = []


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
        """All published ones, oldest first; a folder without a readable manifest is none."""
        found = []
        for name in self._storage.versions():
            try:
                found.append(self.manifest(name))
            except VersionError:
                continue
        return sorted(found, key=lambda m: m.version)

    def manifest(self, version: str) -> Manifest:
        """Raises VersionError when there is no such version, or its manifest cannot be read."""
        self.folder(version)
        try:
            return Manifest.model_validate_json(self._storage.read(f"{version}/{MANIFEST}"))
        except FileNotFoundError:
            raise VersionError(f"there is no version {version!r}; `recsys versions` lists them") from None
        except (ValidationError, OSError) as error:
            raise VersionError(f"the manifest of version {version} cannot be read: {error}") from error

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

    def new_name(self) -> str:
        """Sorts by time: v20260131-120000, with a counter when two fall into one second."""
        stamp = datetime.now(UTC).strftime("v%Y%m%d-%H%M%S")
        taken = sum(1 for name in self._storage.versions() if name.startswith(stamp))
        return f"{stamp}-{taken}" if taken else stamp

    def publish(self, draft: Path, manifest: Manifest) -> None:
        """Make a finished draft visible, all at once."""
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        self._storage.publish(draft, manifest.version)

    def remove(self, version: str) -> None:
        """Delete a version that is not the one to serve; nobody can go back to it."""
        self.folder(version)
        with self.drafts.changing():
            known = self._read_current()
            if known is not None and known.version == version:
                raise VersionError(f"version {version} is the one to serve; promote another first")
            if known is not None and version in known.previous:
                previous = [name for name in known.previous if name != version]
                self._write_current(known.model_copy(update={"previous": previous}))
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
        """What a composer needs of a version. Raises VersionError when a file is missing or was changed."""
        manifest = self.manifest(version)
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
        inspect(loaded, known.items)
        return loaded

    def promote(self, version: str, instead_of: str | None = None) -> Manifest:
        """Serve this version from now on; running shards and composers follow. Refused unless it is intact, and when
        another one than `instead_of` is served by now; None: whatever is.
        """
        manifest = self.verify(version)
        with self.drafts.changing():
            known = self._read_current()
            if instead_of is not None and (known is None or known.version != instead_of):
                now = known.version if known else "none"
                raise VersionError(f"version {version} was made to follow {instead_of}, and {now} is served by now")
            if known is None or known.version != version:
                before = [known.version, *known.previous] if known else []
                previous = [v for v in dict.fromkeys(before) if v != version]  # who goes back and forth loses no third
                self._write_current(_Current(version=version, previous=previous[:_REMEMBERED]))
        return manifest

    def rollback(self) -> Manifest:
        """Serve again what was served before. Raises VersionError when nothing was."""
        known = self._read_current()
        if known is None or not known.previous:
            raise VersionError("there is no earlier version to go back to")
        manifest = self.verify(known.previous[0])
        with self.drafts.changing():
            self._write_current(_Current(version=known.previous[0], previous=known.previous[1:]))
        return manifest

    def _read_current(self) -> _Current | None:
        try:
            return _Current.model_validate_json(self._storage.read(CURRENT))
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


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
