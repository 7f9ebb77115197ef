"""An index over an engine's graph: what all engines share, so that each of them only links, walks and saves.

It gives equal vectors one node (see `nodes.py`), lets searches run beside the writer, and keeps rows for the nodes.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Protocol

import numpy as np

from recsys.config import ShardTuning
from recsys.datatypes import Floats, Keys, Rows
from recsys.errors import VersionError
from recsys.index.base import NO_ROW
from recsys.index.locking import SharedLock
from recsys.index.nodes import Nodes, hashed

_LOCKED_ADDS = 16
"""Vectors added in one hold of the lock: 3 to 5 ms at 384 dimensions, the longest a search waits."""
_SPARE = 4
"""Rows of a node that come behind the k best, beside the first."""
_ALIKE = 1024
"""The same for a node of vectors that differ: the caller orders them by their exact scores."""
_FORMAT = 2
"""Of what lies beside the graph's file. 1 had no such file: every row was a node."""
_FIX = "build again, or `recsys rollback`"


class Graph(Protocol):
    """What an engine provides. Calls never overlap, but for searches beside each other. Nodes count from 0."""

    def __len__(self) -> int:
        """Nodes, hidden ones among them."""

    def codes(self, vectors: Floats) -> Floats:
        """(n, d) vectors as the graph holds them, and as `add` takes them: equal ones are one node."""

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        """(m, d) queries of any length as `search` takes them, and (m, 1) how often as long as they were; None: 1."""

    def add(self, codes: Floats, threads: int) -> Rows:
        """(n,) their nodes: the numbers from `len` on, in an order that the engine chooses."""

    def hide(self, nodes: Rows) -> None:
        """No search returns them from now on. None of them is hidden already."""

    def show(self, nodes: Rows) -> None:
        """Hidden ones are found again."""

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        """(m, d) -> (m, k) nodes and scores, best first, padded with NO_ROW and -inf."""

    def tune(self, tuning: ShardTuning) -> None: ...
    def save(self, path: Path) -> None: ...


class GraphIndex:
    """A `VectorIndex` of a graph."""

    def __init__(self, graph: Graph, nodes: Nodes | None = None) -> None:
        self.graph = graph
        self.nodes = nodes or Nodes()
        self._lock = SharedLock()

    def __len__(self) -> int:
        return self.nodes.rows

    def add(self, rows: Rows, vectors: Floats, threads: int = 1) -> None:
        if not len(rows):
            return
        codes = self.graph.codes(vectors)
        exact = hashed(vectors)
        keys = exact if codes is vectors else hashed(codes)
        # In an empty index there is nothing to wait for, and some engines build faster what they are given at once.
        step = _LOCKED_ADDS * threads if len(self.graph) else len(rows)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            with self._lock.alone():
                self._add(rows[part], codes[part], keys[part], exact[part], threads)

    def _add(self, rows: Rows, codes: Floats, keys: Keys, exact: Keys, threads: int) -> None:
        nodes, known = self.nodes.find(keys), len(self.nodes)
        missing = np.flatnonzero(nodes < 0)
        if len(missing):
            first, which = _distinct(keys[missing])
            new = missing[first]
            made = self.graph.add(codes if len(new) == len(codes) else codes[new], threads)
            self.nodes.create(made, keys[new], exact[new])
            nodes[missing] = made[which]
        filled = self.nodes.link(rows, nodes, exact)
        back = filled[filled < known]
        if len(back):
            self.graph.show(back)

    def remove(self, rows: Rows) -> None:
        with self._lock.alone():
            left = self.nodes.unlink(rows)
            if len(left):
                self.graph.hide(left)

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
    def mixed(self) -> bool:
        return self.nodes.mixed

    def tune(self, tuning: ShardTuning) -> None:
        with self._lock.alone():
            self.graph.tune(tuning)

    def save(self, path: Path) -> None:
        with self._lock.shared():
            self.graph.save(path)
            state = self.nodes.state()
        with _beside(path).open("wb") as file:
            np.savez(file, allow_pickle=False, format=np.array(_FORMAT), **state)


def _distinct(keys: Keys) -> tuple[Rows, Rows]:
    """Where each key comes first, in ascending order; and for all keys, which of those theirs is."""
    if len(keys) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.int64)
    _, first, again = np.unique(keys, return_index=True, return_inverse=True)
    order = np.sort(first)  # nodes come in the order of their rows, not of their hashes
    return order, np.searchsorted(order, first)[again]


def _beside(path: Path) -> Path:
    return path.with_suffix(".npz")


def load_nodes(path: Path) -> Nodes:
    """Of the graph whose file this is. Raises VersionError when it was saved by an older release, or was changed."""
    beside = _beside(path)
    if not beside.exists():
        raise VersionError(
            f"{path} is of an older release, which did not keep {beside.name} beside it; build again: "
            "`recsys build --from-live`, or from your files"
        )
    try:
        with beside.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            state = {name: stored[name] for name in stored.files}
        if int(state.pop("format")) != _FORMAT:
            raise VersionError(f"{beside} is not of format {_FORMAT}; {_FIX}")
        return Nodes.of(state)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise VersionError(f"{beside} cannot be read: {error}; {_FIX}") from error
