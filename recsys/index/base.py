"""The contract of an index engine. docs/contributing.md says how one is added.

Labels are the rows of a shard, vectors have unit length, and a score is the inner product: higher is better. Engine
distances never leave this package. Any number of searches may run beside each other and beside one writer. `graph.py`
holds the lock for that, and what else all engines have in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt

from recsys.config.index import IndexSpec, engine_module
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError

NO_ROW = -1
"""Fills a result that has fewer than k rows."""


class VectorIndex(Protocol):
    def __len__(self) -> int:
        """Number of vectors that a search can return."""

    def add(self, rows: Rows, vectors: Floats, threads: int = 1) -> None:
        """Add (n, d) float32 unit vectors under (n,) rows that were not used before. `threads`: where the engine can.

        Vectors that are added to a loaded index one at a time, on one thread, in the same order and with the same
        removals between them give the same index. Replicas rely on it.
        """

    def remove(self, rows: Rows) -> None:
        """Remove rows from all searches to come. Rows that are not here are ignored."""

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """(m, d) queries -> (m, w) rows and scores, best first, padded with NO_ROW and -inf.

        The first k are the best rows, and w is k if no vectors are equal. Otherwise more rows come behind them, so that
        each line has at least one row of each of the k nearest different vectors.
        """

    waits: ClassVar[bool]
    """Whether a search waits for a server: a thread has to do it, not an event loop."""

    @property
    def away(self) -> str:
        """Why the last search found nothing though there is something: the server of the engine did not answer. The
        caller has to score its vectors itself. Empty: it did answer, or there is none.
        """

    def hurry(self) -> None:
        """From now on requests wait for searches: give up a server as soon as the engine's settings say."""

    @property
    def mixed(self) -> bool:
        """Whether rows may have equal scores though their vectors differ a little. The caller has to order them."""

    @property
    def selects(self) -> bool:
        """Whether the index is one that `Selects`."""

    @property
    def exact_scores(self) -> bool:
        """Whether scores are the inner products with the vectors that were added. The caller need not compute them."""

    def tune(self, tuning: ShardTuning) -> None:
        """Take over the settings of searches to come."""

    def save(self, path: Path) -> None:
        """Write everything that `load` needs into this file, and into one beside it that ends in `.nodes`."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which vectors of an index a search may return; made by `Selects.allowed`."""

    bits: npt.NDArray[np.uint8]
    """A bit for each vector that the index stores, by its own numbers, the lowest bit of a byte first."""
    rows: int
    """Rows that were looked at: those from here on are not allowed yet."""


class Selects(VectorIndex, Protocol):
    """An index whose walks can pass over what is not allowed, without a call of Python for each vector."""

    def allowed(self, mask: npt.NDArray[np.bool_], before: Allowed | None = None) -> Allowed:
        """Vectors that have a row of the (n,) mask over rows. `before`: the same for the first rows of this mask."""

    def search_allowed(self, queries: Floats, k: int, effort: int, allowed: Allowed) -> tuple[Rows, Floats]:
        """`search` among the allowed vectors, by walks that keep `effort` vectors in sight, allowed or not.

        A vector that is allowed for one of its rows gives its other rows as well. Where few are allowed near a query,
        the answer holds vectors from further away, with nearer ones missing between them: the caller has to judge by
        the scores. It may be short.
        """


class HoldsVectors(VectorIndex, Protocol):
    """An index of an engine whose `Spec.holds_vectors` is set."""

    def vectors(self, rows: Rows) -> Floats:
        """(n, d) float32 vectors of the rows as the index holds them, rounded where it rounds. Zeros for a row that is
        not here.
        """


class BuildsFromFile(VectorIndex, Protocol):
    """An index of an engine whose `Spec.builds_from_file` is set."""

    def build(self, vectors: npt.NDArray[np.floating], threads: int) -> None:
        """Fill an empty index: vector i of (n, d), float32 or float16, is row i. Some vectors are read at a time, each
        several times.
        """


class Engine(Protocol):
    """What an engine's module offers. A library is imported within `create` and `load`: whatever reads the config file
    imports the module.
    """

    Spec: type[IndexSpec]
    """Its settings; `engine` in it has the engine's name as its default."""

    def create(self, spec: Any, dimension: int) -> VectorIndex:
        """An empty index; `spec` is a `Spec` of the module."""

    def load(self, path: Path, spec: Any, dimension: int) -> VectorIndex:
        """What `VectorIndex.save` wrote. Raises VersionError when the files are damaged or do not fit."""


def engine(spec: IndexSpec) -> Engine:
    """The module that the spec is of. Raises VersionError when what it needs is not installed."""
    name = spec.engine.partition(":")[0]
    if missing := [module for module in spec.needs if find_spec(module) is None]:
        raise VersionError(
            f"index.engine {name} needs {' and '.join(missing)}, not installed here: pip install 'recsys[{name}]'"
        )
    return cast("Engine", engine_module(spec.engine))


def check(spec: IndexSpec) -> None:
    """What stops a build is told before it begins. Raises VersionError as `engine` does, and Unavailable when the
    engine's server is away or refuses the credentials.
    """
    module: Any = engine(spec)
    if spec.server:
        module.connect(spec).close()


def doubled(start: int, limit: int) -> list[int]:
    """The start, then twice as much each time, up to the limit; the start alone where it is over that."""
    steps = [start]
    while steps[-1] < limit:
        steps.append(min(steps[-1] * 2, limit))
    return steps


def best(scores: Floats, rows: Rows, k: int) -> tuple[Rows, Floats]:
    """The k best columns of (m, n) scores whose column j belongs to rows[j]; padded like a search's answer.

    Equal scores go to the smaller position, so the answer is the same in every replica.
    """
    m, n = scores.shape
    out_rows = np.full((m, k), NO_ROW, np.int64)
    out_scores = np.full((m, k), -np.inf, np.float32)
    take = min(k, n)
    if take == 0:
        return out_rows, out_scores
    if take < n:
        part = np.argpartition(-scores, take - 1, axis=1)[:, :take]
        # A partition keeps any of those that are as good as the last: where there are more, a full sort decides.
        last = np.take_along_axis(scores, part, axis=1).min(axis=1, keepdims=True)
        tied = (scores >= last).sum(axis=1) > take
        part[tied] = np.argsort(-scores[tied], axis=1, kind="stable")[:, :take]
        part.sort(axis=1)
    else:
        part = np.broadcast_to(np.arange(n), (m, n))
    picked = np.take_along_axis(scores, part, axis=1)
    order = np.argsort(-picked, axis=1, kind="stable")
    out_scores[:, :take] = np.take_along_axis(picked, order, axis=1)
    out_rows[:, :take] = rows[np.take_along_axis(part, order, axis=1)]
    out_rows[out_scores == -np.inf] = NO_ROW
    return out_rows, out_scores
