"""faiss: the graph of `hnsw` (arXiv:1603.09320) over vectors of one byte a component, made for memory and speed.

A walk waits for memory, so with a quarter of the bytes a vector it takes about half the time. Rounding changes only
which candidates a walk proposes: the exact vectors stay in the item table, and the shard scores every candidate with
them, so scores and order of an answer are exact. `int8_codes.py` rounds, `int8_links.py` links, `int8_graph.py` walks.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import ClassVar

import numpy as np

from recsys.errors import VersionError
from recsys.index import hnsw, int8_file
from recsys.index.faiss_library import library
from recsys.index.graph_index import GraphIndex, load_nodes
from recsys.index.int8_codes import Rounding
from recsys.index.int8_graph import Int8Graph
from recsys.index.int8_links import Links
from recsys.index.unreached import ReachedGraph


class Spec(hnsw.Spec):
    """The settings of `hnsw`."""

    engine: str = "hnsw_int8"

    builds_from_file: ClassVar[bool] = True
    efforts: ClassVar[tuple[int, ...]] = (24, 32, 40, *hnsw.Spec.efforts)


def create(spec: Spec, dimension: int) -> GraphIndex:
    faiss = library()
    graph = faiss.IndexHNSWSQ(
        dimension, faiss.ScalarQuantizer.QT_8bit_direct_signed, spec.m, faiss.METRIC_INNER_PRODUCT
    )
    graph.hnsw.efConstruction = spec.ef_construction
    return GraphIndex(ReachedGraph(Int8Graph(Links(graph), Rounding(0.0), np.zeros(0, np.int64))))


def load(path: Path, spec: Spec, dimension: int) -> GraphIndex:  # noqa: ARG001 - the file knows its parameters
    """Codes and links stay a map of the file until something is added.

    Raises VersionError when the file is not one of this engine, is cut short, or does not fit. Whether its content was
    changed, the version's checksums tell.
    """
    nodes, fix = load_nodes(path), "build again, or `recsys rollback`"
    try:
        stored = int8_file.read(path)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise VersionError(f"{path} is not an index of the engine hnsw_int8, or was changed: {error}; {fix}") from error
    if stored.graph.d != dimension:
        raise VersionError(f"{path} has vectors of dimension {stored.graph.d}, and {dimension} is needed; {fix}")
    links = Links(stored.graph, stored)
    return GraphIndex(ReachedGraph(Int8Graph(links, Rounding(stored.scale), stored.hidden)), nodes)
