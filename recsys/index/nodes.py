"""Which rows each node of a graph stands for: equal vectors are one node.

A graph of links loses its way among equal vectors: they are each other's nearest, so they link to one another, fill
their lists of links, and what lies behind them is not reached any more. As one node they cost no memory either.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from recsys.columns import Column, find
from recsys.datatypes import Floats, Keys, Rows

_MERGED = 4096
"""New nodes that are looked up by a dictionary before they are merged into the sorted array: a dictionary takes ten
times the memory."""
_BLOCK = 1 << 12
"""Vectors hashed at a time, which bounds the memory."""


class Nodes:
    """Rows are linked in a ring for each node, in the order in which they came: (n,) int32 `_next` and `_previous` by
    row, `_head` by node. Adding and removing a row takes the same time however many share its node.

    Nodes are found by 64-bit hashes of what the graph holds of a vector. Two of 4 million different vectors share a
    hash with a probability of 4e-7.
    """

    def __init__(self) -> None:
        self._node = Column(np.int32)
        """By row; -1: the row is not here."""
        self._next, self._previous = Column(np.int32), Column(np.int32)
        self._head = Column(np.int32)
        self._sizes = Column(np.int32)
        """Rows of each node; 0: all are gone, and an equal vector brings the node back."""
        self._hashes = Column(np.uint64)
        """By node, of what the graph holds."""
        self._exact = Column(np.uint64)
        """By node, of the vector that its first row has."""
        self._mixed = Column(np.bool_)
        """By node, whether it ever held vectors that differ, which are alike for the graph only."""
        self._sorted: tuple[Keys, Rows] = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self._recent: dict[int, int] = {}
        self.mixed = False
        """Whether there is such a node."""
        self.rows = 0
        """Rows that are here."""
        self.live = 0
        """Nodes with rows."""

    def __len__(self) -> int:
        return len(self._head)

    def find(self, hashes: Keys) -> Rows:
        """(n,) nodes; -1 where there is none."""
        known, nodes = self._sorted
        at = find(known, hashes)
        found = np.where(at < 0, -1, nodes[at]) if len(nodes) else at
        if self._recent:
            missing = np.flatnonzero(found < 0)
            found[missing] = [self._recent.get(h, -1) for h in hashes[missing].tolist()]
        return found

    def create(self, nodes: Rows, hashes: Keys, exact: Keys) -> None:
        """Nodes without rows yet, numbered from `len(self)` on, in any order."""
        order = np.argsort(nodes)
        self._head.extend(np.full(len(nodes), -1))
        self._sizes.extend(np.zeros(len(nodes)))
        self._mixed.extend(np.zeros(len(nodes), bool))
        self._exact.extend(exact[order])
        self._hashes.extend(hashes[order])
        if len(self._recent) + len(nodes) > max(_MERGED, len(self) // 16):
            self._sort()
        else:
            self._recent.update(zip(hashes.tolist(), nodes.tolist(), strict=True))

    def _sort(self) -> None:
        order = np.argsort(self._hashes.view)
        self._sorted = self._hashes.view[order], order
        self._recent = {}

    def link(self, rows: Rows, nodes: Rows, exact: Keys) -> Rows:
        """Each row joins its node; the nodes that had none before."""
        if not len(rows):
            return rows
        last = int(rows.max(initial=-1)) + 1
        for column in (self._node, self._next, self._previous):
            column.extend(np.full(max(last - len(column), 0), -1))
        differ = nodes[exact != self._exact.view[nodes]]
        if len(differ):
            self._mixed.view[differ] = self.mixed = True
        self._node.view[rows] = nodes
        self.rows += len(rows)
        if len(rows) == 1:
            return nodes[:1] if self._join(int(rows[0]), int(nodes[0])) else nodes[:0]
        follows, leads = self._next.view, self._previous.view
        order = np.argsort(nodes, kind="stable")
        r, n = rows[order], nodes[order]
        fresh = np.ones(len(n), bool)
        fresh[1:] = n[1:] != n[:-1]
        inner = np.flatnonzero(~fresh)
        follows[r[inner - 1]], leads[r[inner]] = r[inner], r[inner - 1]
        starts = np.flatnonzero(fresh)
        ends = np.append(starts[1:], len(n)) - 1
        first, end, joined = r[starts], r[ends], n[starts]
        new = self._sizes.view[joined] == 0
        self._head.view[joined[new]] = first[new]
        head = self._head.view[joined]
        tail = np.where(new, end, leads[head])
        follows[tail], leads[first] = first, tail
        follows[end], leads[head] = head, end
        self._sizes.view[joined] += ends - starts + 1
        self.live += int(new.sum())
        return joined[new]

    def _join(self, row: int, node: int) -> bool:
        """What `link` does for one row, in a tenth of the time: a log is applied row by row. Whether it had none."""
        follows, leads = self._next.view, self._previous.view
        new = self._sizes.view[node] == 0
        if new:
            self._head.view[node] = follows[row] = leads[row] = row
            self.live += 1
        else:
            head = self._head.view[node]
            tail = leads[head]
            follows[tail], leads[row] = row, tail
            follows[row], leads[head] = head, row
        self._sizes.view[node] += 1
        return bool(new)

    def unlink(self, rows: Rows) -> Rows:
        """The nodes that are left without rows; rows that are not here are passed over."""
        node, follows, leads = self._node.view, self._next.view, self._previous.view
        left = []
        for row in rows[(rows >= 0) & (rows < len(node))].tolist():
            of = int(node[row])
            if of < 0:
                continue
            before, after = leads[row], follows[row]
            follows[before], leads[after] = after, before
            if self._head.view[of] == row:
                self._head.view[of] = after
            node[row] = -1
            self._sizes.view[of] -= 1
            self.rows -= 1
            if not self._sizes.view[of]:
                self.live -= 1
                left.append(of)
        return np.array(left, np.int64)

    def spread(self, nodes: Rows, scores: Floats, k: int, spare: int, most: int) -> tuple[Rows, Floats]:
        """(m, j) nodes, best first, with their scores -> (m, w) rows, w >= j, padded with -1 and -inf.

        The first k rows of a line come whole. Of a node behind them come `spare` rows at the most, so that a few may be
        dropped from the answer and the node still has its place. A node of vectors that differ gives up to `most`.
        """
        if not len(self._head):
            return nodes, scores
        here = nodes >= 0
        sizes = self._sizes.view[nodes]  # for -1 that of the last, which does not count
        if np.count_nonzero((sizes == 1) & here) == sizes.size:  # nearly always
            return self._head.view[nodes].astype(np.int64), scores
        safe = np.where(here, nodes, 0)
        sizes = np.where(here, sizes, 0).astype(np.int64)
        before = np.cumsum(sizes, axis=1) - sizes
        gives = np.minimum(sizes, np.maximum(k - before, np.where(self._mixed.view[safe], most, spare)))
        place = np.cumsum(gives, axis=1) - gives
        width = max(int(gives.sum(axis=1).max(initial=0)), nodes.shape[1])
        made = np.full((len(nodes), width), -1, np.int64)
        spread = np.full((len(nodes), width), -np.inf, np.float32)
        line, column = np.nonzero(gives)
        row = self._head.view[safe[line, column]]
        step = 0
        while len(line):  # over the rows of a node, all nodes in step
            at = place[line, column] + step
            made[line, at], spread[line, at] = row, scores[line, column]
            step += 1
            more = gives[line, column] > step
            line, column, row = line[more], column[more], self._next.view[row[more]]
        return made, spread

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """Copies of what `of` makes the same nodes from."""
        rows = np.flatnonzero(self._node.view >= 0)
        return {
            "rows": rows,
            "nodes": self._node.view[rows],
            "hashes": self._hashes.view.copy(),
            "exact": self._exact.view.copy(),
            "mixed": self._mixed.view.copy(),
        }

    @classmethod
    def of(cls, state: dict[str, npt.NDArray[np.generic]]) -> Nodes:
        made = cls()
        hashes, exact = np.asarray(state["hashes"], np.uint64), np.asarray(state["exact"], np.uint64)
        made.create(np.arange(len(hashes)), hashes, exact)
        made._sort()
        rows, nodes = np.asarray(state["rows"], np.int64), np.asarray(state["nodes"], np.int64)
        made.link(rows, nodes, exact[nodes])
        made._mixed.view[:] = state["mixed"]
        made.mixed = bool(made._mixed.view.any())
        return made


def hashed(codes: Floats) -> Keys:
    """(n,) uint64 of the bytes of each row; 0.0 and -0.0 are equal."""
    digests = []
    for start in range(0, len(codes), _BLOCK):
        block = np.ascontiguousarray(codes[start : start + _BLOCK] + np.float32(0)).view(np.uint8)
        digests += [hashlib.blake2b(row.data, digest_size=8).digest() for row in block.reshape(len(block), -1)]
    return np.frombuffer(b"".join(digests), np.uint64)
