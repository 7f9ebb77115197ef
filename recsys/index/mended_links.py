"""Links around dead nodes: what links to them gets other neighbours, and then no walk comes to them any more.

A node that loses neighbours keeps the others. In their place come the live neighbours of those that it lost, nearest
first, while it has room, and each only if no neighbour that it has already is nearer to it than the node itself is: the
rule by which HNSW chooses links (Malkov and Yashunin 2018, arXiv:1603.09320, algorithm 4), over the candidates that
FreshDiskANN takes (Singh et al. 2021, arXiv:2105.09613, algorithm 4). Where dead nodes were linked with each other,
their neighbours are looked at in turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from recsys.compiled import compiled
from recsys.datatypes import Rows
from recsys.index.faiss_library import library

if TYPE_CHECKING:
    import faiss

_MOST_DEAD = 64
"""Dead nodes that are looked through for one node, as in `mending.c`."""
_MOST_LEVELS = 64
_READ = 1 << 18
"""Links read at a time: about a millisecond, in which nothing else has the interpreter."""

Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


class _Mending(Protocol):
    """`mending.c`; its arrays are contiguous. ValueError where they do not fit each other."""

    def mend(
        self, codes: npt.NDArray[np.uint8], links: Ints, offsets: npt.NDArray[np.uint64], starts: Ints, dead: Bools,
        nodes: Ints, levels: Ints, lists: Ints, /,
    ) -> None: ...  # fmt: skip


MENDING: _Mending | None = compiled("recsys.index.mending")
"""None: `mended` is made of numpy and Python."""


@dataclass(frozen=True, slots=True)
class LinkArrays:
    """The memory of a graph as it lies now: what adds to the graph may move it."""

    codes: npt.NDArray[np.uint8]
    """(n, d): components + 128."""
    links: Ints
    offsets: npt.NDArray[np.uint64]
    """(n + 1,) where a node's links begin."""
    starts: Ints
    """Where those of each level begin behind that."""

    @classmethod
    def of(cls, graph: faiss.IndexHNSWSQ) -> LinkArrays:
        view: Any = library().rev_swig_ptr
        hnsw, codes = graph.hnsw, library().downcast_index(graph.storage).codes
        levels = library().vector_to_array(hnsw.cum_nneighbor_per_level)[: hnsw.max_level + 2]
        return cls(
            view(codes.data(), codes.size()).reshape(-1, graph.d),
            view(hnsw.neighbors.data(), hnsw.neighbors.size()),
            view(hnsw.offsets.data(), hnsw.offsets.size()),
            levels.astype(np.int32),
        )

    def places(self, nodes: Rows, level: int) -> Rows:
        """(n, room) where the links of these nodes stand."""
        inner = np.arange(self.starts[level], self.starts[level + 1])
        return self.offsets[nodes].astype(np.int64)[:, None] + inner

    def neighbours(self, node: int, level: int) -> Ints:
        begin = int(self.offsets[node])
        links = self.links[begin + int(self.starts[level]) : begin + int(self.starts[level + 1])]
        return links[: int(np.argmax(links < 0))] if (links < 0).any() else links

    def whole(self, node: int) -> slice:
        """Where the links of a node stand in all its levels."""
        return slice(int(self.offsets[node]), int(self.offsets[node + 1]))

    def read(self) -> Iterator[tuple[int, Ints]]:
        """All links, some at a time, and the place of the first of these."""
        for start in range(0, len(self.links), _READ):
            yield start, self.links[start : start + _READ]


def leading_to(arrays: LinkArrays, dead: Bools) -> tuple[Ints, Ints]:
    """(n,) live nodes that link to dead ones, and the level in which each does.

    `dead`: (nodes + 1,), the last of them False, here and below.
    """
    found = [start + np.flatnonzero(dead[links]) for start, links in arrays.read()]  # -1 is the last
    places = np.concatenate([np.zeros(0, np.int64), *found])
    nodes = np.searchsorted(arrays.offsets, places.astype(np.uint64), side="right") - 1
    levels = np.searchsorted(arrays.starts, places - arrays.offsets[nodes].astype(np.int64), side="right") - 1
    nodes, levels = np.divmod(np.unique((nodes * _MOST_LEVELS + levels)[~dead[nodes]]), _MOST_LEVELS)
    return nodes.astype(np.int32), levels.astype(np.int32)


def mended(arrays: LinkArrays, dead: Bools, nodes: Ints, levels: Ints) -> Ints:
    """(n, most) new links of the nodes in these levels, padded with -1."""
    lists = np.empty((len(nodes), int(np.diff(arrays.starts).max())), np.int32)
    if MENDING is None:
        return by_numpy(arrays, dead, nodes, levels, lists)
    MENDING.mend(arrays.codes, arrays.links, arrays.offsets, arrays.starts, dead, nodes, levels, lists)
    return lists


def by_numpy(arrays: LinkArrays, dead: Bools, nodes: Ints, levels: Ints, lists: Ints) -> Ints:
    """`mended` where nothing is compiled."""
    lists[:] = -1
    for line, node, level in zip(lists, nodes.tolist(), levels.tolist(), strict=True):
        own = arrays.neighbours(node, level)
        kept = own[~dead[own]].tolist()
        others = _behind(arrays, dead, node, level)
        components = arrays.codes[[node, *kept, *others]].astype(np.int32) - 128
        likeness = dict(zip([node, *kept, *others], components, strict=True))
        scores = {other: int(likeness[node] @ likeness[other]) for other in others}
        room = int(arrays.starts[level + 1] - arrays.starts[level])
        for other in sorted(others, key=lambda other: (-scores[other], other)):
            if len(kept) < room and all(likeness[other] @ likeness[one] <= scores[other] for one in kept):
                kept.append(other)
        line[: len(kept)] = kept
    return lists


def _behind(arrays: LinkArrays, dead: Bools, node: int, level: int) -> list[int]:
    """Live nodes that this one may be linked with instead of its dead neighbours."""
    own = arrays.neighbours(node, level)
    found: list[int] = []
    passed = own[dead[own]].tolist()[:_MOST_DEAD]
    for gone in passed:  # it grows
        if len(found) >= int(arrays.starts[level + 1] - arrays.starts[level]):
            break
        around = arrays.neighbours(gone, level)
        live = [other for other in around[~dead[around]].tolist() if other != node and other not in own]
        found += [other for other in live if other not in found]
        passed += [other for other in around[dead[around]].tolist() if other not in passed]
        del passed[_MOST_DEAD:]
    return found


def put(arrays: LinkArrays, nodes: Ints, levels: Ints, lists: Ints) -> None:
    """Let the nodes have these links."""
    for level in np.unique(levels).tolist():
        here = levels == level
        places = arrays.places(nodes[here], level)
        arrays.links[places] = lists[here][:, : places.shape[1]]


def cut(arrays: LinkArrays, nodes: Rows) -> None:
    """Take all links from the nodes."""
    arrays.links[arrays.places(nodes, 0)] = -1
    wide = arrays.offsets[nodes + 1] - arrays.offsets[nodes] > arrays.starts[1]
    for node in nodes[wide].tolist():
        arrays.links[arrays.whole(node)] = -1


def without_links_to(arrays: LinkArrays, nodes: Rows) -> Rows:
    """Those of the nodes that no link leads to."""
    led = np.zeros(len(arrays.offsets), bool)
    for _, links in arrays.read():
        led[links] = True  # -1 is the last, which is no node
    return nodes[~led[nodes]]
