"""The file of an hnswlib graph, put into another order.

hnswlib keeps its nodes one behind another in the order in which they came, each with its links, its vector and its
label, and has no call for another order. `HierarchicalNSW::saveIndex` writes a head, the nodes of the lowest layer, and
for each node the links in the layers above, as a count of bytes and that many bytes. Links are places of nodes. A node
keeps its label and its links wherever it stands, so walks take the same steps and give the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from recsys.datatypes import Rows
from recsys.index.clusters import in_clusters

_HEAD = np.dtype([
    ("links_at", "<u8"), ("room", "<u8"), ("nodes", "<u8"), ("node_bytes", "<u8"), ("label_at", "<u8"),
    ("vector_at", "<u8"), ("top_layer", "<i4"), ("entry", "<u4"), ("most_links", "<u8"), ("most_lowest_links", "<u8"),
    ("m", "<u8"), ("mult", "<f8"), ("ef_construction", "<u8"),
])  # fmt: skip
_LABEL = 8
_BLOCK = 1 << 14
"""Nodes that are copied at a time."""

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class _Layers:
    """Links above the lowest layer: all words of that part of the file, and for each node where its own begin, behind
    their count, and how many they are.
    """

    words: Words
    starts: Rows
    sizes: Rows


def put_in_clusters(path: Path, dimension: int, threads: int) -> None:
    """Put nodes whose vectors are alike side by side. A file that is not as expected stays as it is, and so does one
    that would not fit into memory: only reading it is slower.
    """
    if path.stat().st_size > psutil.virtual_memory().available // 2:
        return
    data: Bytes = np.memmap(path, np.uint8, "r")
    head = data[: _HEAD.itemsize].view(_HEAD)[0]
    if not _as_expected(head, len(data), dimension):
        return
    count, size = int(head["nodes"]), int(head["node_bytes"])
    nodes = data[_HEAD.itemsize : _HEAD.itemsize + count * size].reshape(count, size)
    at = int(head["vector_at"])
    layers = _layers(data[_HEAD.itemsize + count * size :].view(np.uint32), count)
    order = None if layers is None else in_clusters(nodes[:, at : at + 4 * dimension].view(np.float32), threads)
    if layers is None or order is None:
        return
    place = np.empty(count, np.uint32)
    place[order] = np.arange(count, dtype=np.uint32)
    head = head.copy()
    head["entry"] = place[head["entry"]]
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.write(head.tobytes())
        for start in range(0, count, _BLOCK):
            some = nodes[order[start : start + _BLOCK]]
            _relink(some[:, : 4 + 4 * int(head["most_lowest_links"])].view(np.uint32), place)
            file.write(some.data)
        file.write(_above(layers, int(head["most_links"]), order, place).data)
    part.replace(path)


def _as_expected(head: np.void, size: int, dimension: int) -> bool:
    lowest = 4 + 4 * int(head["most_lowest_links"])
    label = lowest + 4 * dimension
    return (
        (int(head["links_at"]), int(head["vector_at"]), int(head["label_at"])) == (0, lowest, label)
        and int(head["node_bytes"]) == label + _LABEL
        and _HEAD.itemsize + int(head["nodes"]) * (label + _LABEL + 4) <= size
        and int(head["entry"]) < int(head["nodes"])
        and size % 4 == 0
    )


def _layers(words: Words, count: int) -> _Layers | None:
    """None: the words are not those of so many nodes."""
    words = np.asarray(words)
    filled = np.flatnonzero(words)  # most nodes have no links here, and only a count of 0
    starts, sizes = np.zeros(count, np.int64), np.zeros(count, np.int64)
    node = at = 0
    while node < count:
        nearest = np.searchsorted(filled, at)
        empty = int(filled[nearest]) - at if nearest < len(filled) else count - node
        if empty >= count - node:
            at += count - node
            break
        node, at = node + empty, at + empty
        starts[node], sizes[node] = at + 1, int(words[at]) // 4
        at += 1 + int(sizes[node])
        node += 1
    return _Layers(words, starts, sizes) if at == len(words) else None


def _relink(lists: Words, place: Words) -> None:
    """Change (n, 1 + most) links in place: a count in the lower half of the first word, and as many places."""
    links = lists[:, 1:]
    counted = np.arange(links.shape[1]) < (lists[:, :1] & 0xFFFF)
    links[counted] = place[links[counted]]


def _above(layers: _Layers, most_links: int, order: Rows, place: Words) -> Words:
    """The words of the layers above the lowest, in the new order."""
    sizes = layers.sizes[order]
    ends = np.cumsum(sizes + 1)
    words = np.zeros(int(ends[-1]), np.uint32)
    words[ends - sizes - 1] = 4 * sizes
    # Word j of node i comes from starts[i] + j.
    target = np.repeat(ends - sizes, sizes) + _within(sizes)
    source = np.repeat(layers.starts[order], sizes) + _within(sizes)
    lists = layers.words[source].reshape(-1, 1 + most_links)
    _relink(lists, place)
    words[target] = lists.ravel()
    return words


def _within(sizes: Rows) -> Rows:
    """0 to n - 1 for each of the sizes n, one behind another."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
