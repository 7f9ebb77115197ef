"""Nodes that no walk leads to.

Few links lead to a node that is unlike all others: each neighbour keeps only links that lead in different directions
(Malkov and Yashunin 2018, arXiv:1603.09320, algorithm 4). To a query like that node all others are about equally far,
so a walk may stop before it comes to one of these links. So each node that comes to a graph is searched for once, by
its own vector and some that are like it. One that is not found is scored in every search from then on.

To 4,000 items in close groups came 450, one by one, that were unlike all of them. By a vector like theirs walks missed
102 of them, and 15 with the unreached ones scored. Of 900 more items of the groups none was unreached (64 dimensions,
`ef_search` 64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from recsys.columns import Column
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.index.base import NO_ROW
from recsys.index.graph import BuiltGraph, HoldingGraph, ReusingGraph, SelectingGraph

_EF = 32
"""`ef_search` of the walk for a new node: narrower than those that are served, and the same in every replica."""
_NEAREST = 16
"""Nodes that this walk gives. Where all of them score higher than the new node itself, as to a vector with a learned
part they may, it says nothing."""
_LIKE = 3
"""Vectors like its own that a new node is searched for by, each with this cosine to it."""
_COSINE = 0.9
_ALONE = 0.5
"""A new node is searched for by these only if the nearest other node scores less than this share of its own score to
itself: an item that is like others is found through them, and a search takes 20 µs of the 440 of an addition.
"""
_SMALLEST = np.float32(1e-30)
AGAIN = 64
"""After so many more unreached nodes the oldest are searched for again, as many: later links may lead to them."""

Bools = npt.NDArray[np.bool_]


class WalkedGraph(HoldingGraph, Protocol):
    def likeness(self, codes: Floats, others: Floats) -> Floats:
        """(m, d) codes as `search` takes them, (n, d) codes as `add` takes them -> (m, n) scores as `search` gives."""


class MendedGraph(ReusingGraph, Protocol):
    @property
    def lost(self) -> Rows:
        """(n,) nodes that no link leads to since others were released."""


class ReachedGraph:
    """A `Graph` around one that is walked: what comes after the first addition is found by its own vector.

    The first addition is a build, which measures how much is found. `save` leaves the unreached nodes out: a version is
    saved right after its build.
    """

    def __init__(self, graph: WalkedGraph) -> None:
        self.walked = graph
        """Without the unreached."""
        self._tuning = ShardTuning()
        self._narrow = ShardTuning(ef_search=_EF)
        self._nodes = Column(np.int64)
        self._hidden = Column(np.bool_)
        self._codes = Column(np.float32)
        """(n, d) of the unreached nodes; their width is known when there is one."""
        self._since = 0
        """Nodes that came since some were searched for again."""

    def __len__(self) -> int:
        return len(self.walked)

    @property
    def exact_scores(self) -> bool:
        return self.walked.exact_scores

    @property
    def selects(self) -> bool:
        return self.walked.selects

    @property
    def reuses(self) -> bool:
        return self.walked.reuses

    @property
    def unreached(self) -> Rows:
        """Nodes that are scored in every search, oldest first."""
        return self._nodes.view

    def codes(self, vectors: Floats) -> Floats:
        return self.walked.codes(vectors)

    def questions(self, queries: Floats) -> tuple[Floats, Floats | None]:
        return self.walked.questions(queries)

    def vectors(self, nodes: Rows) -> Floats:
        return self.walked.vectors(nodes)

    def own(self) -> None:
        self.walked.own()

    def coded(self, vectors: npt.NDArray[np.floating]) -> Iterator[Floats]:
        return cast("BuiltGraph", self.walked).coded(vectors)

    def build(self, vectors: npt.NDArray[np.floating], rows: Rows, threads: int) -> Rows:
        return cast("BuiltGraph", self.walked).build(vectors, rows, threads)

    def add(self, codes: Floats, threads: int) -> Rows:
        first = not len(self.walked)
        nodes = self.walked.add(codes, threads)
        if first:
            return nodes
        missed = self._missed(codes, nodes)
        self._add_unreached(nodes[missed], codes[missed])
        return nodes

    def _add_unreached(self, nodes: Rows, codes: Floats) -> None:
        if not len(nodes):
            return
        if not len(self._nodes):
            self._codes = Column(np.float32, codes.shape[1:])
        self._nodes.extend(nodes)
        self._codes.extend(codes)
        self._hidden.extend(np.zeros(len(nodes), bool))
        self._since += len(nodes)
        if self._since >= AGAIN:
            self._look_again()

    def _look_again(self) -> None:
        nodes, codes, hidden = self._nodes.view, self._codes.view, self._hidden.view
        stays = np.ones(len(nodes), bool)
        stays[:AGAIN] = hidden[:AGAIN] | self._missed(codes[:AGAIN], nodes[:AGAIN])
        order = np.roll(np.arange(len(nodes)), -AGAIN)  # next time others are the oldest
        self._keep(order[stays[order]])
        self._since = 0

    def _keep(self, places: Rows) -> None:
        """Leave out the unreached nodes at other places than these."""
        nodes, codes, hidden = self._nodes.view[places], self._codes.view[places], self._hidden.view[places]
        self._nodes, self._codes, self._hidden = Column(np.int64), Column(np.float32, codes.shape[1:]), Column(np.bool_)
        self._nodes.extend(nodes)
        self._codes.extend(codes)
        self._hidden.extend(hidden)

    def _missed(self, codes: Floats, nodes: Rows) -> Bools:
        """(n,) which of the nodes, of these codes, narrow walks do not find though they find worse ones."""
        self.walked.tune(self._narrow)
        missed, nearest = self._walk(codes, nodes, codes)
        alone = np.flatnonzero(~missed & (nearest < _ALONE))
        if len(alone):
            like = _like(codes[alone], int(nodes[0]))
            again, _ = self._walk(like, np.tile(nodes[alone], _LIKE), np.tile(codes[alone], (_LIKE, 1)))
            missed[alone] = again.reshape(_LIKE, -1).any(axis=0)
        self.walked.tune(self._tuning)
        return missed

    def _walk(self, queries: Floats, nodes: Rows, codes: Floats) -> tuple[Bools, Floats]:
        """(n,) whether the walk for each query missed the node of that line, whose code is given; and which share of
        that node's score the best other one has.
        """
        questions, _ = self.walked.questions(queries)
        walked, scores = self.walked.search(questions, min(_NEAREST, len(self.walked)))
        own = self.walked.likeness(questions, codes).diagonal()
        itself = walked == nodes[:, None]
        missed = ~itself.any(axis=1) & (own > scores[:, -1])  # -inf where the walk found too few
        others = np.where(itself, -np.inf, scores).max(axis=1)
        return missed, others / np.maximum(own, _SMALLEST)

    @property
    def free(self) -> Rows:
        return cast("ReusingGraph", self.walked).free

    def mend(self, nodes: Rows) -> Iterator[Callable[[], None]]:
        return cast("ReusingGraph", self.walked).mend(nodes)

    def release(self, nodes: Rows) -> Rows:
        freed = (walked := cast("MendedGraph", self.walked)).release(nodes)
        lost = walked.lost
        self._keep(np.flatnonzero(~np.isin(self._nodes.view, freed)))
        lost = lost[~np.isin(lost, self._nodes.view)]
        self._add_unreached(lost, self.walked.codes(self.walked.vectors(lost)))
        return freed

    def hide(self, nodes: Rows) -> None:
        self.walked.hide(nodes)
        self._mark(nodes, hidden=True)

    def show(self, nodes: Rows) -> None:
        self.walked.show(nodes)
        self._mark(nodes, hidden=False)

    def _mark(self, nodes: Rows, *, hidden: bool) -> None:
        if len(self._nodes):
            self._hidden.view[np.isin(self._nodes.view, nodes)] = hidden

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        nodes, scores = self.walked.search(codes, k)
        if not len(self._nodes):
            return nodes, scores
        return self._with_unreached(codes, k, nodes, scores)

    def search_allowed(self, codes: Floats, k: int, effort: int, bits: npt.NDArray[np.uint8]) -> tuple[Rows, Floats]:
        nodes, scores = cast("SelectingGraph", self.walked).search_allowed(codes, k, effort, bits)
        if not len(self._nodes):
            return nodes, scores
        there = self._nodes.view < 8 * len(bits)
        own = np.where(there, self._nodes.view, 0)
        return self._with_unreached(codes, k, nodes, scores, there & ((bits[own >> 3] >> (own & 7)) & 1 == 1))

    def _with_unreached(
        self, codes: Floats, k: int, nodes: Rows, scores: Floats, allowed: Bools | None = None
    ) -> tuple[Rows, Floats]:
        """(m, k) the best of both. The walk may have found some of the unreached all the same."""
        more = self.walked.likeness(codes, self._codes.view)
        more[:, self._hidden.view if allowed is None else self._hidden.view | ~allowed] = -np.inf
        scores = np.where(np.isin(nodes, self._nodes.view), np.float32(-np.inf), scores)
        nodes = np.hstack([nodes, np.broadcast_to(self._nodes.view, more.shape)])
        scores = np.hstack([scores, more])
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        nodes, scores = np.take_along_axis(nodes, order, 1), np.take_along_axis(scores, order, 1)
        return np.where(scores == -np.inf, NO_ROW, nodes), scores

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning
        self._narrow = tuning.model_copy(update={"ef_search": _EF})
        self.walked.tune(tuning)

    def save(self, path: Path) -> None:
        self.walked.save(path)


def _like(codes: Floats, seed: int) -> Floats:
    """(_LIKE * n, d) vectors at an angle to the (n, d) codes, several times."""
    noise = np.random.default_rng(seed).standard_normal((_LIKE, *codes.shape), np.float32)
    lengths = np.linalg.norm(codes, axis=1, keepdims=True) * np.sqrt(1 / _COSINE**2 - 1)
    noise *= lengths / np.maximum(np.linalg.norm(noise, axis=2, keepdims=True), _SMALLEST)
    return (codes + noise).reshape(-1, codes.shape[1]).astype(np.float32)
