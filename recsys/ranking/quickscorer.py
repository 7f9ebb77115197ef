"""Scoring of trees for a whole batch at once: QuickScorer (Lucchese et al., SIGIR 2015) in numpy.

The leaves of a tree are bits, left to right. A node whose test fails (value > threshold) clears the bits of its left
subtree, and the lowest remaining bit is the leaf. A node of a feature fails for all values above its threshold. So the
masks are computed in advance, one row for each interval between thresholds. A batch takes one search and one AND for
each feature, for all rows and trees together: a third to a fifth of the time of LightGBM, which walks trees by row.

`scoring.c` does it row by row and gives the same sums to the last bit, in a fraction of that time. It is compiled when
the project is installed; where it was not, numpy scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from recsys.compiled import compiled
from recsys.datatypes import Floats
from recsys.errors import VersionError

LEAVES = 16
"""Most leaves of a tree: the bits of a mask."""
_TOGETHER = 256
"""Rows scored at a time: with 200 trees the masks have 100 KB, which stay in the cache."""
_CHUNK = 32
"""Masks of a row are padded to a multiple of these, which fill a register and a line of the cache."""
FASTEST = 2
"""Instructions that compiled code may use, where the processor has them: 0, plain ones; 1, AVX2; 2, AVX-512."""

Masks = npt.NDArray[np.uint16]
Ints = npt.NDArray[np.int64]


class _Scoring(Protocol):
    """`scoring.c`. ValueError where arrays do not fit each other."""

    def score(
        self, features: Ints, starts: Ints, edges: Floats, masks: Masks, values: Floats, table: Floats, width: int,
        instructions: int, sums: Floats, /,
    ) -> None: ...  # fmt: skip

    def correct(
        self, features: Ints, starts: Ints, edges: Floats, masks: Masks, values: Floats, table: Floats, width: int,
        instructions: int, rows: int, at: Ints, to: Ints, places: npt.NDArray[np.uint16], sums: Floats, scores: Floats,
        /,
    ) -> None: ...  # fmt: skip


SCORING: _Scoring | None = compiled("recsys.ranking.scoring")
"""None: numpy scores."""


class Kept(NamedTuple):
    """Room for n sums, and for what they follow from."""

    places: npt.NDArray[np.uint16]
    """(n, lists) of each row that was scored: how many thresholds its value passes, of each feature."""
    sums: Floats
    """(n,) float32; NaN: nothing is kept there yet."""


class Trees:
    """Trees of LightGBM's `dump_model`. Raises VersionError for splits that are not thresholds."""

    def __init__(self, model: Mapping[str, Any]) -> None:
        trees = [_Tree(info["tree_structure"]) for info in model["tree_info"]]
        values = np.zeros((len(trees), LEAVES), np.float32)
        nodes: dict[int, list[tuple[np.float32, int, int]]] = {}
        for number, tree in enumerate(trees):
            values[number, : len(tree.leaves)] = tree.leaves
            for feature, threshold, mask in tree.nodes:
                nodes.setdefault(feature, []).append((_below(threshold), number, mask))
        self._values = values.ravel()
        self._first = np.arange(len(trees)) * LEAVES
        self._tables = [(feature, *_table(of_feature, len(trees))) for feature, of_feature in nodes.items()]
        edges, masks = [edges for _, edges, _ in self._tables], [masks for _, _, masks in self._tables]
        self._flat = (
            np.array([feature for feature, _, _ in self._tables], np.int64),
            np.cumsum([0, *map(len, edges)]),
            np.concatenate([np.zeros(0, np.float32), *edges]),
            _padded(np.concatenate([np.zeros((0, len(trees)), np.uint16), *masks])),
            self._values,
        )
        bits = np.arange(1 << LEAVES)
        self._leaf = np.log2(np.maximum(bits & -bits, 1)).astype(np.uint8)

    def score(self, table: Floats) -> Floats:
        """Return (n,) float32: the sum over trees for each row of an (n, features) float32 table without NaN."""
        if SCORING is not None and table.shape[1] and len(self._first):
            sums = np.empty(len(table), np.float32)
            SCORING.score(*self._flat, np.ascontiguousarray(table), table.shape[1], FASTEST, sums)
            return sums
        return self._by_numpy(table)

    def room(self, n: int) -> Kept:
        """Room for n sums. Its memory is taken where it is first used."""
        return Kept(np.zeros((n, len(self._tables)), np.uint16), np.full(n, np.nan, np.float32))

    def correct(self, table: Floats, kept: Kept, at: Ints, scores: Floats, to: Ints) -> None:
        """Add to `scores[to]` what `score` returns for the rows of the table.

        The sum of row i is taken from `kept`, at `at[i]`, if the row's values lie between the same thresholds as those
        of the row that it is of; else it is computed, and kept there.
        """
        if SCORING is None or not self._tables:
            scores[to] += self.score(table)
            return
        SCORING.correct(*self._flat, table, table.shape[1], FASTEST, len(to), at, to, *kept, scores)

    def _by_numpy(self, table: Floats) -> Floats:
        at = [(masks, np.searchsorted(edges, table[:, feature])) for feature, edges, masks in self._tables]
        sums = np.empty(len(table), np.float32)
        for start in range(0, len(table), _TOGETHER):
            part = slice(start, min(start + _TOGETHER, len(table)))
            left = np.full((part.stop - start, len(self._first)), 0xFFFF, np.uint16)
            for masks, places in at:
                left &= masks.take(places[part], axis=0)
            sums[part] = self._values.take(self._leaf.take(left) + self._first).sum(axis=1)
        return sums


class _Tree:
    """`leaves`: values, left to right. `nodes`: feature, threshold, and the bits that remain when the test fails."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.leaves: list[float] = []
        self.nodes: list[tuple[int, float, int]] = []
        self._walk(root)
        if len(self.leaves) > LEAVES:
            raise VersionError(f"the ranking model has trees of over {LEAVES} leaves; train again")

    def _walk(self, node: Mapping[str, Any]) -> None:
        if "split_feature" not in node:
            self.leaves.append(node["leaf_value"])
            return
        if node["decision_type"] != "<=":
            raise VersionError("the ranking model splits by categories, and signals are numbers; train again")
        start = len(self.leaves)
        self._walk(node["left_child"])
        left = (1 << len(self.leaves)) - (1 << start)
        self.nodes.append((node["split_feature"], node["threshold"], 0xFFFF & ~left))
        self._walk(node["right_child"])


def _below(threshold: float) -> np.float32:
    """Return the largest float32 not above the threshold, with which float32 values compare as with the threshold."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded


def _table(nodes: list[tuple[np.float32, int, int]], trees: int) -> tuple[Floats, Masks]:
    """Return (t,) sorted thresholds of a feature, and (t + 1, trees) masks by the number of thresholds passed."""
    edges = np.unique(np.array([edge for edge, _, _ in nodes], np.float32))
    masks = np.full((len(edges) + 1, trees), 0xFFFF, np.uint16)
    for edge, tree, mask in nodes:
        masks[np.searchsorted(edges, edge) + 1 :, tree] &= np.uint16(mask)
    return edges, masks


def _padded(masks: Masks) -> Masks:
    """The same (rows, trees) with columns behind them, from an address that begins a line of the cache."""
    rows, trees = masks.shape
    width = -(-trees // _CHUNK) * _CHUNK
    room = np.full(rows * width + _CHUNK, 0xFFFF, np.uint16)
    start = -room.ctypes.data // room.itemsize % _CHUNK
    padded = room[start : start + rows * width].reshape(rows, width)
    padded[:, :trees] = masks
    return padded
