"""What an engine provides: it only links, walks and saves. An index over it does the rest, see `graph_index.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows


class Graph(Protocol):
    """What an engine provides. Searches may run beside each other; no other calls overlap. Nodes count from 0."""

    @property
    def exact_scores(self) -> bool:
        """Whether scores are the inner products with the vectors that were added, but for the last bits of float32."""

    @property
    def selects(self) -> bool:
        """Whether the graph is a `SelectingGraph`."""

    @property
    def reuses(self) -> bool:
        """Whether the graph is a `ReusingGraph`."""

    def __len__(self) -> int:
        """Number of nodes, the hidden ones included."""

    def codes(self, vectors: Floats) -> Floats:
        """(n, d) vectors as the graph stores them and as `add` takes them. Vectors with equal codes share a node."""

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        """(m, d) queries of any length as `search` takes them, and the (m, 1) factors by which they were lengthened;
        None: all are 1.
        """

    def own(self) -> None:
        """Get ready to grow: copy what is a map of a file. Searches may run beside it."""

    def add(self, codes: Floats, threads: int) -> Rows:
        """Add codes. Return their (n,) nodes: the numbers from `len` on, in an order that the engine chooses; those of
        nodes that are free come first. None of them is hidden.
        """

    def hide(self, nodes: Rows) -> None:
        """Exclude nodes from all searches to come. None of them is hidden already."""

    def show(self, nodes: Rows) -> None:
        """Let searches return hidden nodes again."""

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        """(m, d) -> (m, k) nodes and scores, best first, padded with NO_ROW and -inf."""

    def tune(self, tuning: ShardTuning) -> None: ...
    def save(self, path: Path) -> None: ...


class SelectingGraph(Graph, Protocol):
    """A graph whose walks pass over nodes that are not allowed."""

    def search_allowed(self, codes: Floats, k: int, effort: int, bits: npt.NDArray[np.uint8]) -> tuple[Rows, Floats]:
        """`search` among nodes whose bit is set, see `base.Selects`. Nodes without a bit are not allowed."""


class BuiltGraph(Graph, Protocol):
    """A graph that is built from a map of its vectors."""

    def build(self, vectors: npt.NDArray[np.floating], rows: Rows, threads: int) -> Rows:
        """Fill an empty graph with these (n,) ascending rows of the vectors, see `base.BuildsFromFile`. Return their
        nodes, the numbers from 0 to n - 1 in an order that the engine chooses.
        """

    def coded(self, vectors: npt.NDArray[np.floating]) -> Iterator[Floats]:
        """`codes` of all vectors, some at a time. Called before `build`."""


class HoldingGraph(Graph, Protocol):
    """A graph that gives back its vectors."""

    def vectors(self, nodes: Rows) -> Floats:
        """(n, d) float32 of nodes that are not hidden, as the graph holds them."""


class ReusingGraph(Graph, Protocol):
    """A graph whose hidden nodes can stand for other codes, once no link leads to them."""

    @property
    def free(self) -> Rows:
        """(n,) the nodes that additions take first."""

    def mend(self, nodes: Rows) -> Iterator[Callable[[], None]]:
        """What has to be done that no link leads to these hidden nodes any more, some at a time: each is called while
        no search runs. Nothing is added meanwhile.
        """

    def release(self, nodes: Rows) -> Rows:
        """Free nodes that were mended, while no search runs. Return those that are free now."""


class GivenVectors:
    """What a graph does whose nodes hold the vectors as they were given, in memory of its own."""

    def codes(self, vectors: Floats) -> Floats:
        return vectors

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        return queries, None

    def own(self) -> None:
        """It is no map of a file."""
