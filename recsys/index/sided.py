"""What engines lack that are built once: items that come or go later.

Two parts answer together: the *body*, made of the vectors that an index is built from, and beside it the *side*, whose
vectors are all scored. Hidden nodes are dropped from an answer of the body, which is asked for more in their place;
where that is not enough its vectors are read one after another. Nodes of the side are numbered behind those of the
body.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt

from recsys.columns import Column
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index.base import NO_ROW, best
from recsys.index.graph import GivenVectors

_BLOCK = 1 << 16
"""Vectors that are read in one piece: 100 MiB at 384 dimensions."""


Bools = npt.NDArray[np.bool_]


class Body(Protocol):
    """What an engine brings. It holds n vectors, nodes 0 to n - 1, and is searched by many threads at a time."""

    def __len__(self) -> int: ...

    def add(self, vectors: Floats, threads: int) -> bool:
        """False: it cannot grow, ever, and the side takes them."""

    def search(self, queries: Floats, k: int) -> tuple[Rows, Floats]:
        """(m, d) -> (m, k) nodes and inner products, best first, padded with NO_ROW; k is at most n."""

    def rest(self, queries: Floats, k: int, hidden: Bools) -> tuple[Rows, Floats]:
        """(m, d) -> (m, k) the best nodes that are not hidden, where a search had too many hidden ones among its own.
        `hidden` is (n,).
        """

    def tune(self, tuning: ShardTuning) -> None: ...

    def dump(self) -> npt.NDArray[np.uint8]:
        """All of it as bytes."""


class HoldingBody(Body, Protocol):
    """A body of an engine that says `IndexSpec.holds_vectors`."""

    def at(self, nodes: Rows) -> Floats:
        """(n,) -> (n, d) vectors of some nodes."""


class Readable(Protocol):
    """A body whose vectors lie in memory."""

    def __len__(self) -> int: ...

    def vectors(self, start: int, stop: int) -> Floats:
        """(stop - start, d) as the body holds them, rounded where it rounds."""


class Builder(Protocol):
    def __call__(self, vectors: Floats, threads: int) -> Body | None:
        """None: there are too few of them to make a body of."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a file holds: (bytes,) uint8 `body`, (s, d) float32 `side`, (h,) `hidden` nodes."""

    body: npt.NDArray[np.uint8]
    side: Floats
    hidden: Rows


class SidedGraph(GivenVectors):
    """A `graph.Graph` of a body and a side. `build` makes the body of what is added first."""

    exact_scores: ClassVar[bool] = False
    """Of bodies: the scores of the side are exact."""
    selects: ClassVar[bool] = False
    reuses: ClassVar[bool] = False

    def __init__(self, dimension: int, build: Builder, body: Body | None = None, parts: Parts | None = None) -> None:
        """`body` and `parts`: of a file."""
        self._build = build
        self.body = body
        self._tuning = ShardTuning()
        self._side = Column(np.float32, (dimension,))
        self._hidden = Column(np.bool_)
        self._gone = self._body_gone = 0
        """Hidden nodes: of all, and of the body alone."""
        if parts is not None:
            self._side.extend(parts.side)
            self._hidden.extend(np.zeros(self._own + len(parts.side), bool))
            self.hide(parts.hidden)

    def __len__(self) -> int:
        return len(self._hidden)

    @property
    def _own(self) -> int:
        """Nodes of the body."""
        return 0 if self.body is None else len(self.body)

    def add(self, codes: Floats, threads: int) -> Rows:
        start = len(self)
        if not start:
            self.body = self._build(np.ascontiguousarray(codes), threads)
            if self.body is None:
                self._side.extend(codes)
            self.tune(self._tuning)
        elif self.body is None or not self.body.add(np.ascontiguousarray(codes), threads):
            self._side.extend(codes)
        self._hidden.extend(np.zeros(len(codes), bool))
        return np.arange(start, len(self))

    def hide(self, nodes: Rows) -> None:
        self._mark(nodes, hidden=True)

    def show(self, nodes: Rows) -> None:
        self._mark(nodes, hidden=False)

    def _mark(self, nodes: Rows, *, hidden: bool) -> None:
        self._hidden.view[nodes] = hidden
        more = 1 if hidden else -1
        self._gone += more * len(nodes)
        self._body_gone += more * int(np.count_nonzero(nodes < self._own))

    def search(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        nodes, scores = self._of_both(codes, k, k + min(self._body_gone, 2 * k))
        short = self._short(nodes, k)
        if len(short):
            nodes[short], scores[short] = self._with_rest(codes[short], k)
        return nodes, scores

    def likeness(self, codes: Floats, others: Floats) -> Floats:
        return codes @ others.T

    def _of_both(self, codes: Floats, k: int, wide: int) -> tuple[Rows, Floats]:
        """The k best of the side and of the `wide` that the body finds, hidden ones among them."""
        nodes, scores = self._of_side(codes, k)
        if self.body is None or self._body_gone == self._own:
            return nodes, scores
        walked, likeness = self.body.search(codes, min(wide, self._own))
        return _merged(nodes, scores, *self._without_hidden(walked, likeness), k)

    def _short(self, nodes: Rows, k: int) -> Rows:
        """The lines that have fewer than k nodes though there are more."""
        return np.flatnonzero((nodes >= 0).sum(axis=1) < min(k, len(self) - self._gone))

    def _of_side(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        scores = codes @ self._side.view.T
        scores[:, self._hidden.view[self._own :]] = -np.inf
        return best(scores, np.arange(self._own, len(self)), k)

    def _without_hidden(self, nodes: Rows, scores: Floats) -> tuple[Rows, Floats]:
        gone = (nodes < 0) | self._hidden.view[nodes]
        return np.where(gone, NO_ROW, nodes), np.where(gone, np.float32(-np.inf), scores)

    def _with_rest(self, codes: Floats, k: int) -> tuple[Rows, Floats]:
        """The k best of both, however many hidden ones stand before them."""
        nodes, scores = self._of_side(codes, k)
        if self.body is None:
            return nodes, scores
        return _merged(nodes, scores, *self.body.rest(codes, k, self._hidden.view[: self._own]), k)

    def vectors(self, nodes: Rows) -> Floats:
        vectors = np.empty((len(nodes), self._side.view.shape[1]), np.float32)
        inside = nodes < self._own
        if self.body is not None:
            vectors[inside] = cast("HoldingBody", self.body).at(nodes[inside])
        vectors[~inside] = self._side.view[nodes[~inside] - self._own]
        return vectors

    def tune(self, tuning: ShardTuning) -> None:
        self._tuning = tuning
        if self.body is not None:
            self.body.tune(tuning)

    def save(self, path: Path) -> None:
        body = np.zeros(0, np.uint8) if self.body is None else self.body.dump()
        with path.open("wb") as file:
            np.savez(file, body=body, side=self._side.view, hidden=np.flatnonzero(self._hidden.view))


def read(body: Readable, queries: Floats, k: int, hidden: Bools) -> tuple[Rows, Floats]:
    """`Body.rest` of a body in memory: all its vectors are scored."""
    nodes = np.full((len(queries), 0), NO_ROW, np.int64)
    scores = np.full((len(queries), 0), -np.inf, np.float32)
    for start in range(0, len(body), _BLOCK):
        stop = min(start + _BLOCK, len(body))
        likeness = queries @ body.vectors(start, stop).T
        likeness[:, hidden[start:stop]] = -np.inf
        nodes, scores = _merged(nodes, scores, *best(likeness, np.arange(start, stop), k), k)
    return nodes, scores


def read_parts(path: Path) -> Parts:
    """Raises VersionError when the file is not one of a `SidedGraph`, is cut short or was changed."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:  # a zip: its parts have checksums
            return Parts(stored["body"], stored["side"], stored["hidden"])
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise VersionError(f"{path} cannot be read: {error}; build again, or `recsys rollback`") from error


def _merged(nodes: Rows, scores: Floats, others: Rows, likeness: Floats, k: int) -> tuple[Rows, Floats]:
    """(m, k) the best of both, best first; of equal scores the smaller node."""
    nodes, scores = np.hstack([nodes, others]), np.hstack([scores, likeness])
    order = np.lexsort((nodes, -scores), axis=1)[:, :k]
    nodes, scores = np.take_along_axis(nodes, order, 1), np.take_along_axis(scores, order, 1)
    return np.where(scores == -np.inf, NO_ROW, nodes), scores
