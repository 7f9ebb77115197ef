"""An index over an engine's graph: what all engines share. The engine itself is a `Graph`.

The index gives equal vectors one node (see `nodes.py`), lets searches run beside the writer, and knows the rows of each
node.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import numpy.typing as npt

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Keys, Rows
from recsys.errors import VersionError
from recsys.index.base import NO_ROW, Allowed
from recsys.index.graph import BuiltGraph, Graph, HoldingGraph, ReusingGraph, SelectingGraph
from recsys.index.locking import SharedLock
from recsys.index.mapped_arrays import map_arrays, write_arrays
from recsys.index.nodes import Nodes, hashed

_LOCKED_ADDS = 16
"""Vectors added under the lock at a time: 3 to 5 ms at 384 dimensions, the longest that a search waits."""
_RECLAIMED, _HIDDEN = 64, 32
"""Hidden nodes are freed once there are so many, and one of so many nodes is hidden: a walk passes them, and to free
them reads all links."""
_SPARE = 4
"""Most rows of a node in an answer behind the k best. See `Nodes.spread`."""
_ALIKE = 1024
"""The same for a node of vectors that differ: the caller puts its rows in order by their exact scores."""
_FORMAT = 3
"""Format of the file beside the graph's. Format 1 had no such file, that of format 2 ended in `.npz`."""
_FIX = "build again, or `recsys rollback`"


class GraphIndex:
    """A `VectorIndex` of a graph."""

    waits: ClassVar[bool] = False

    def __init__(self, graph: Graph, nodes: Nodes | None = None) -> None:
        self.graph = graph
        self.nodes = nodes or Nodes()
        self._lock = SharedLock()

    def __len__(self) -> int:
        return self.nodes.rows

    def add(self, rows: Rows, vectors: Floats, threads: int = 1) -> None:
        if not len(rows):
            return
        self.graph.own()
        codes = self.graph.codes(vectors)
        exact = hashed(vectors)
        keys = exact if codes is vectors else hashed(codes)
        # In an empty index there is nothing to wait for, and some engines build faster what they are given at once.
        step = _LOCKED_ADDS * threads if len(self.graph) else len(rows)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            if self._due() and (self.nodes.find(keys[part]) < 0).any():
                self._reclaim()
            with self._lock.alone():
                self._add(rows[part], codes[part], keys[part], exact[part], threads)

    def build(self, vectors: npt.NDArray[np.floating], threads: int) -> None:
        """See `base.BuildsFromFile`; only of a `BuiltGraph`."""
        graph = cast("BuiltGraph", self.graph)
        if not len(vectors):
            return
        exact, keys = np.empty(len(vectors), np.uint64), np.empty(len(vectors), np.uint64)
        start = 0
        for codes in graph.coded(vectors):
            part = slice(start, start + len(codes))
            exact[part], keys[part] = hashed(np.asarray(vectors[part], np.float32)), hashed(codes)
            start += len(codes)
        first, which = _distinct(keys)
        with self._lock.alone():
            nodes = graph.build(vectors, first, threads)
            self.nodes.create(nodes, keys[first], exact[first])
            self.nodes.link(np.arange(len(vectors)), nodes[which], exact)

    def _add(self, rows: Rows, codes: Floats, keys: Keys, exact: Keys, threads: int) -> None:
        nodes, added = self.nodes.find(keys), np.zeros(0, np.int64)
        missing = np.flatnonzero(nodes < 0)
        if len(missing):
            first, which = _distinct(keys[missing])
            new = missing[first]
            added = self.graph.add(codes if len(new) == len(codes) else codes[new], threads)
            self.nodes.create(added, keys[new], exact[new])
            nodes[missing] = added[which]
        filled = self.nodes.link(rows, nodes, exact)
        if len(missing) == len(nodes):  # every one of them is new
            return
        revived = filled if not len(added) else filled[~np.isin(filled, added)]
        if len(revived):
            self.graph.show(revived)

    def _due(self) -> bool:
        """Whether there are many hidden nodes that are not free. It depends on what was added and removed alone, so
        replicas do the same.
        """
        if not self.graph.reuses:
            return False
        hidden = len(self.nodes) - self.nodes.live - len(cast("ReusingGraph", self.graph).free)
        return hidden >= max(_RECLAIMED, len(self.nodes) // _HIDDEN)

    def _reclaim(self) -> None:
        """Free the hidden nodes. Searches run meanwhile, with pauses of some of a millisecond."""
        graph = cast("ReusingGraph", self.graph)
        dead = np.setdiff1d(self.nodes.empty, graph.free)
        for step in graph.mend(dead):
            with self._lock.alone():
                step()
        with self._lock.alone():
            freed = graph.release(dead)
        self.nodes.forget(freed)

    def remove(self, rows: Rows) -> None:
        with self._lock.alone():
            emptied = self.nodes.unlink(rows)
            if len(emptied):
                self.graph.hide(emptied)

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        with self._lock.shared():
            take = min(k, self.nodes.live)
            if not take or not len(queries):
                return np.full((len(queries), k), NO_ROW, np.int64), np.full((len(queries), k), -np.inf, np.float32)
            codes, longer = self.graph.questions(queries)
            nodes, scores = self.graph.search(codes, take)
            if longer is not None:
                scores = scores / longer
            if take < k:
                none = ((0, 0), (0, k - take))
                nodes = np.pad(nodes, none, constant_values=NO_ROW)
                scores = np.pad(scores, none, constant_values=-np.inf)
            return self.nodes.spread(nodes, scores, k, _SPARE, _ALIKE)

    @property
    def selects(self) -> bool:
        return self.graph.selects

    def allowed(self, mask: npt.NDArray[np.bool_], before: Allowed | None = None) -> Allowed:
        """See `base.Selects`; only of a `SelectingGraph`."""
        with self._lock.shared():
            start = 0 if before is None else before.rows
            end = min(len(mask), self.nodes.seen)
            nodes = self.nodes.of_rows(start + np.flatnonzero(mask[start:end]))
            marked = np.zeros(len(self.graph), bool)
            marked[nodes[nodes >= 0]] = True
            bits = np.packbits(marked, bitorder="little")
        if before is not None:
            bits[: len(before.bits)] |= before.bits
        return Allowed(bits, end)

    def search_allowed(self, queries: Floats, k: int, effort: int, allowed: Allowed) -> tuple[Rows, Floats]:
        """See `base.Selects`; only of a `SelectingGraph`."""
        with self._lock.shared():
            take = min(k, self.nodes.live)
            if not take or not len(queries):
                return np.full((len(queries), k), NO_ROW, np.int64), np.full((len(queries), k), -np.inf, np.float32)
            codes, longer = self.graph.questions(queries)
            graph = cast("SelectingGraph", self.graph)
            nodes, scores = graph.search_allowed(codes, take, effort, allowed.bits)
            # All rows of a node: the one that is wanted may be any of them.
            return self.nodes.spread(nodes, scores if longer is None else scores / longer, take, _ALIKE, _ALIKE)

    def vectors(self, rows: Rows) -> Floats:
        """See `base.HoldsVectors`; only of a `HoldingGraph`."""
        with self._lock.shared():
            nodes = self.nodes.of_rows(rows)
            here = nodes >= 0
            some = cast("HoldingGraph", self.graph).vectors(nodes[here])
        if len(some) == len(rows):
            return some
        vectors = np.zeros((len(rows), some.shape[1]), np.float32)
        vectors[here] = some
        return vectors

    @property
    def away(self) -> str:
        return ""

    def hurry(self) -> None:
        """There is no server."""

    @property
    def mixed(self) -> bool:
        return self.nodes.mixed

    @property
    def exact_scores(self) -> bool:
        return self.graph.exact_scores

    def tune(self, tuning: ShardTuning) -> None:
        with self._lock.alone():
            self.graph.tune(tuning)

    def save(self, path: Path) -> None:
        with self._lock.shared():
            self.graph.save(path)
            write_arrays(_beside(path), self.nodes.state(), format=_FORMAT, **self.nodes.facts)


def _distinct(keys: Keys) -> tuple[Rows, Rows]:
    """Places at which a key occurs first, in ascending order; and for each of the keys the place in that list."""
    if len(keys) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    _, first, again = np.unique(keys, return_index=True, return_inverse=True)
    order = np.sort(first)  # nodes come in the order of their rows, not of their hashes
    return order, np.searchsorted(order, first)[again]


def _beside(path: Path) -> Path:
    return path.with_suffix(".nodes")


def load_nodes(path: Path) -> Nodes:
    """The nodes of the graph in this file. Raises VersionError for files of an older release, and for damaged ones."""
    beside = _beside(path)
    if not beside.exists():
        raise VersionError(
            f"{path} is of an older release, which did not keep {beside.name} beside it; build again: "
            "`recsys build --from-live`, or from your files"
        )
    try:
        arrays, facts = map_arrays(beside)
        if facts["format"] != _FORMAT:
            raise VersionError(f"{beside} is not of format {_FORMAT}; {_FIX}")
        return Nodes.of(arrays, facts)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise VersionError(f"{beside} cannot be read: {error}; {_FIX}") from error
