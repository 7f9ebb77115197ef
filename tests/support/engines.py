"""Indexes of every engine, and vectors to fill them with."""

from __future__ import annotations

import numpy as np

from recsys.config.index import IndexSpec, engine_names
from recsys.config.tuning import ShardTuning
from recsys.index.base import engine
from tests.support.world import unit_rows

KINDS = ["faiss:IVF16,Flat", "faiss:IVF16,SQ8", "faiss:OPQ8_16,IVF16,PQ8x4,RFlat", "faiss:NSG16"]
"""Of factory strings: lists, rounded lists, product quantisation refined by exact vectors, a graph that cannot grow."""
ENGINES = [*engine_names(), *KINDS]
DIMENSION = 16
DIAGONAL = np.eye(DIMENSION, dtype=np.float32)
"""Row i is the unit vector of axis i: the nearest of axis i is i, with score 1; the others score 0."""
TOLERANCE = {"hnsw_int8": 0.015, "faiss:IVF16,SQ8": 0.015}
"""How far a score may lie from the inner product, where an engine rounds: 16 components, each off by half a step of
1.25 / 127 at the most and by a third of that on average."""
EFFORT = {"faiss:NSG16": 1000, "milvus": 256, "pgvector": 256, "qdrant": 256}
"""`ef_search` where the default finds under 99 % of these vectors, or does in some builds: not all are repeatable."""


def make(name: str, dimension: int = DIMENSION):
    spec = IndexSpec.of(name)
    index = engine(spec).create(spec, dimension)
    index.tune(tuning(name))
    return index


def tuning(name: str, threads: int = 1) -> ShardTuning:
    return ShardTuning(threads=threads, ef_search=EFFORT.get(name, 64))


def random_vectors(n: int, seed: int = 0) -> np.ndarray:
    """Clustered, as texts are: 20 centres with noise around them."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, DIMENSION))
    return unit_rows(centres[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, DIMENSION)))
