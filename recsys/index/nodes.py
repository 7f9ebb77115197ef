"""Which rows each node of a graph stands for: equal vectors are one node.

A walk through a graph gets lost among equal vectors: they are each other's nearest, so they link to one another and
fill their lists of links, and a walk does not reach what lies behind them. As one node they also take no memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.columns import Column, find
from recsys.datatypes import Floats, Keys, Rows

_MERGED = 4096
"""Most new nodes in a dictionary before they are merged into the sorted array: a dictionary takes ten times the
memory."""
_BLOCK = 1 << 12
"""Vectors hashed at a time, which bounds the memory."""


class Nodes:
    """The rows of a node form a ring, in the order in which they came: (n,) int32 `_next` and `_previous` by row, and
    `_head` by node. Adding and removing a row takes the same time, however many rows share its node.

    Nodes are looked up by 64-bit hashes of their codes. The probability that two of 4 million different vectors share a
    hash is 4e-7.
    """

    def __init__(self) -> None:
        self._node = Column(np.int32)
        """By row; -1: the row is not here."""
        self._next, self._previous = Column(np.int32), Column(np.int32)
        self._head = Column(np.int32)
        self._sizes = Column(np.int32)
        """By node, how many rows it has; 0: none, until an equal vector comes."""
        self._exact = Column(np.uint64)
        """By node, of the vector of its first row."""
        self._mixed = Column(np.bool_)
        """By node, whether it ever had rows whose vectors differ though their codes are equal."""
        self._sorted: tuple[Keys, npt.NDArray[np.int32]] = np.zeros(0, np.uint64), np.zeros(0, np.int32)
        """Hashes of the nodes' codes in ascending order, and the node of each."""
        self._recent: dict[int, int] = {}
        """The same for nodes that came since."""
        self.mixed = False
        """Whether any node is so."""
        self._alike = True
        """Whether every row had the number of its node, and no node a second row: then nodes are rows."""
        self.rows = 0
        """Number of rows."""
        self.live = 0
        """Number of nodes that have rows."""

    def __len__(self) -> int:
        return len(self._head)

    @property
    def seen(self) -> int:
        """The rows that are, or were, here are under this number."""
        return len(self._node)

    def find(self, hashes: Keys) -> Rows:
        """(n,) int64 nodes with these hashes; -1 where there is none."""
        merged, merged_nodes = self._sorted
        if len(hashes) == 1:  # a log is applied row by row
            place = int(merged.searchsorted(hashes[0]))
            known = place < len(merged) and merged[place] == hashes[0]
            return np.array([merged_nodes[place] if known else self._recent.get(int(hashes[0]), -1)], np.int64)
        at = find(merged, hashes)
        nodes = np.where(at < 0, np.int64(-1), merged_nodes[at]) if len(merged_nodes) else at
        if self._recent:
            missing = np.flatnonzero(nodes < 0)
            nodes[missing] = [self._recent.get(h, -1) for h in hashes[missing].tolist()]
        return nodes

    def of_rows(self, rows: Rows) -> Rows:
        """(n,) int64 nodes of rows that are or were here; -1 for one that was removed."""
        return self._node.view[rows].astype(np.int64)

    def create(self, nodes: Rows, hashes: Keys, exact: Keys) -> None:
        """Add nodes, which have no rows yet. Their numbers go on from `len(self)`, in any order, or are of nodes that
        were forgotten.

        `hashes`: of their codes. `exact`: of their first vectors.
        """
        if len(nodes) == 1 and nodes[0] == len(self):
            self._head.append(-1)
            self._sizes.append(0)
            self._mixed.append(0)
            self._exact.append(exact[0])
        else:
            self._create(nodes, exact)
        if len(self._recent) + len(nodes) > max(_MERGED, len(self) // 16):
            self._merge(hashes, nodes)
        else:
            self._recent.update(zip(hashes.tolist(), nodes.tolist(), strict=True))

    def _create(self, nodes: Rows, exact: Keys) -> None:
        again = nodes < len(self)
        self._mixed.view[nodes[again]], self._exact.view[nodes[again]] = False, exact[again]
        new = nodes[~again]
        self._head.extend(np.full(len(new), -1))
        self._sizes.extend(np.zeros(len(new)))
        self._mixed.extend(np.zeros(len(new), bool))
        self._exact.extend(exact[~again][np.argsort(new)])

    @property
    def empty(self) -> Rows:
        """(n,) int64 nodes without rows."""
        return np.flatnonzero(self._sizes.view == 0)

    def forget(self, nodes: Rows) -> None:
        """Let nodes without rows not be found any more: they will stand for other codes."""
        hashes, order = self._sorted
        stays = np.ones(len(self), bool)
        stays[nodes] = False
        here = stays[order]
        self._sorted = hashes[here], order[here]
        self._recent = {key: node for key, node in self._recent.items() if stays[node]}

    def _merge(self, hashes: Keys, nodes: Rows) -> None:
        """Merge the recent nodes and these into the sorted arrays."""
        recent = np.array([*self._recent], np.uint64), np.array([*self._recent.values()], np.int32)
        keys = np.concatenate([self._sorted[0], recent[0], hashes])
        merged = np.concatenate([self._sorted[1], recent[1], nodes.astype(np.int32)])
        order = np.argsort(keys)
        self._sorted, self._recent = (keys[order], merged[order]), {}

    def link(self, rows: Rows, nodes: Rows, exact: Keys) -> Rows:
        """Add each of (n,) rows to its node. Return the (m,) int64 nodes that had no rows before.

        `exact`: (n,) uint64 hashes of the rows' vectors.
        """
        if not len(rows):
            return rows
        self._alike = self._alike and np.array_equal(rows, nodes)
        last = int(rows[0] if len(rows) == 1 else rows.max(initial=-1)) + 1
        for column in (self._node, self._next, self._previous):
            if last == len(column) + 1:
                column.append(-1)
            elif last > len(column):
                column.extend(np.full(last - len(column), -1))
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
        """`link` for one row, in a tenth of the time: a log is applied row by row. Return whether it had no rows."""
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
        """Remove (n,) rows. Return the (m,) int64 nodes that are left without any.

        Rows that are not here are passed over.
        """
        node, follows, leads = self._node.view, self._next.view, self._previous.view
        emptied = []
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
                emptied.append(of)
        return np.array(emptied, np.int64)

    def spread(self, nodes: Rows, scores: Floats, k: int, spare: int, most: int) -> tuple[Rows, Floats]:
        """Put the rows of nodes in their places: (m, j) nodes and scores, best first -> (m, w) rows and scores, w >= j.

        Lines are padded with -1 and -inf. The first k rows of a line are complete. A node behind them gives at most
        `spare` rows, so that it still has a place when some of its rows are dropped from the answer. A node of vectors
        that differ gives up to `most`.
        """
        if self._alike:
            return nodes, scores
        if self.rows == self.live and not np.count_nonzero(nodes < 0):  # each node has one row
            return self._head.view[nodes].astype(np.int64), scores
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
        rows = np.full((len(nodes), width), -1, np.int64)
        row_scores = np.full((len(nodes), width), -np.inf, np.float32)
        line, column = np.nonzero(gives)
        row = self._head.view[safe[line, column]]
        step = 0
        while len(line):  # over the rows of a node, all nodes in step
            at = place[line, column] + step
            rows[line, at], row_scores[line, at] = row, scores[line, column]
            step += 1
            more = gives[line, column] > step
            line, column, row = line[more], column[more], self._next.view[row[more]]
        return rows, row_scores

    def state(self) -> dict[str, npt.NDArray[np.generic]]:
        """The arrays that `of` makes the same nodes from."""
        if self._recent:
            self._merge(np.zeros(0, np.uint64), np.zeros(0, np.int64))
        (hashes, order), here, filled = self._sorted, self._node.view >= 0, self._sizes.view > 0
        return {
            "nodes": self._node.view,
            "next": np.where(here, self._next.view, np.int32(-1)),
            "previous": np.where(here, self._previous.view, np.int32(-1)),
            "head": np.where(filled, self._head.view, np.int32(-1)),
            "sizes": self._sizes.view,
            "exact": self._exact.view,
            "mixed": self._mixed.view,
            "hashes": hashes,
            "order": order,
        }

    @property
    def facts(self) -> dict[str, int]:
        """What `of` needs beside the arrays."""
        return {"rows": self.rows, "live": self.live, "is_mixed": int(self.mixed), "alike": int(self._alike)}

    @classmethod
    def of(cls, state: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, int]) -> Nodes:
        """The nodes of which `state` gave these arrays, which are not copied: a map of a file stays one."""
        restored = cls()
        columns: dict[str, Column[Any]] = {
            "nodes": restored._node,
            "next": restored._next,
            "previous": restored._previous,
            "head": restored._head,
            "sizes": restored._sizes,
            "exact": restored._exact,
            "mixed": restored._mixed,
        }
        for name, column in columns.items():
            column.adopt(state[name])
        restored._sorted = state["hashes"], state["order"]
        restored.rows, restored.live = facts["rows"], facts["live"]
        restored.mixed, restored._alike = bool(facts["is_mixed"]), bool(facts["alike"])
        return restored


def hashed(codes: Floats) -> Keys:
    """(n,) uint64: a hash of the bytes of each row; 0.0 and -0.0 count as equal."""
    if len(codes) == 1:
        return np.frombuffer(hashlib.blake2b(codes[0] + np.float32(0), digest_size=8).digest(), np.uint64)
    digests = []
    for start in range(0, len(codes), _BLOCK):
        block = np.ascontiguousarray(codes[start : start + _BLOCK] + np.float32(0)).view(np.uint8)
        digests += [hashlib.blake2b(row.data, digest_size=8).digest() for row in block.reshape(len(block), -1)]
    return np.frombuffer(b"".join(digests), np.uint64)
