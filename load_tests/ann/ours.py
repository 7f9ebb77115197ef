"""Our shard with one of its engines: all that a replica does of a search, without the network before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from msgspec.structs import replace

from load_tests.ann.contender import Floats, Ints, K
from load_tests.ann.raw.plain import InProcess
from recsys.config.index import IndexSpec
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.shard.candidates import QUERY, CandidateSet, ShardQuery
from recsys.shard.probes import nearest_query
from recsys.shard.recall import CANDIDATES
from recsys.shard.search import search
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import read_shard, write_index, write_rows
from recsys.state.item_log import START_OF_LOG

_MOST = 1600
"""The largest `ef_search` that is tried."""
_EXACT = ("hnsw", "flat", "annoy")
"""Engines of exact vectors are asked for ten; all others, which round, for fifty that the shard scores exactly."""


class Driver(InProcess):
    """`kind` is an engine, and behind a slash what the shard keeps of the vectors, as `hnsw_int8/float16`."""

    def __init__(self, kind: str) -> None:
        engine, _, originals = kind.partition("/")
        self._spec = IndexSpec.of(engine, originals=originals or "float32")
        self._queries: dict[int, ShardQuery] = {}
        self._asked = K if engine in _EXACT else CANDIDATES
        walks = engine in _EXACT or engine.startswith("hnsw")
        self.efforts = range(1, 2) if self._spec.exact else range(self._asked if walks else 1, _MOST + 1)

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        items = [Item(str(row), f"Item number {row}") for row in range(len(vectors))]
        write_rows(folder / "shard", items, vectors, Sketcher.fit(vectors), originals=self._spec.originals)
        write_index(folder / "shard", self._spec, threads)

    def open(self, folder: Path, dimension: int) -> None:  # noqa: ARG002 - the files know it
        self._shard = read_shard(folder / "shard", "bench", self._spec, {}, START_OF_LOG)
        keys = self._shard.items.keys.view
        self._order = np.argsort(keys)
        self._keys = keys[self._order]

    def tune(self, effort: int) -> None:
        self._shard.tune(ShardTuning(ef_search=effort))

    def search(self, queries: Floats) -> tuple[CandidateSet, Ints]:
        """The candidates, and their order."""
        answer = search(self._shard, replace(self._of_size(len(queries)), vectors=queries))
        return answer, np.argsort(4 * answer.requests - answer.likeness[:, QUERY], kind="stable")

    def _of_size(self, size: int) -> ShardQuery:
        """A composer writes it, no part of a shard's work: made once for each number of queries."""
        if size not in self._queries:
            self._queries[size] = nearest_query("bench", np.zeros((size, 1), np.float32), self._asked)
        return self._queries[size]

    def rows(self, answer: tuple[CandidateSet, Ints]) -> Ints:
        candidates, order = answer
        requests = candidates.requests
        rows = np.full((len(candidates.offsets) - 1, K), -1, np.int64)
        at = self._order[np.searchsorted(self._keys, candidates.keys[order])]
        place = np.arange(len(at)) - candidates.offsets[:-1][requests]
        best = place < K
        rows[requests[best], place[best]] = at[best]
        return rows
