"""Plans for filters that shards do not use, beside the two that they do: why they are left out.

    python -m load_tests.parts.plans_left_out --items 200000

Filters leave some of the items at random; µs a query of the thread that searches, one query at a time, 50 neighbours.

- `allow_list`: the walk of the engine keeps matches alone. hnswlib asks a Python function about each node, and takes
  the lock of the interpreter for it; `beside` is the time on the clock while another thread runs Python.
- `two_hop` (ACORN-1, arXiv:2403.04871): a walk over the matches alone, which looks past a neighbour that does not match
  at its neighbours. hnswlib offers none, so it is written in numpy here, over a copy of the links.
"""

from __future__ import annotations

import argparse
import heapq
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from rich.console import Console
from rich.table import Table

from load_tests.comparison.workload import EF_CONSTRUCTION, Floats, M, Workload
from recsys.index.hnsw_file import put_in_clusters

SHARES = (0.5, 0.2, 0.1, 0.04, 0.01)
K, EF, QUERIES = 50, 64, 30


class TwoHop:
    """Of an hnswlib graph, by its own numbers of nodes."""

    def __init__(self, graph: hnswlib.Index, vectors: Floats) -> None:
        state: dict[str, Any] = graph.__getstate__()[0]
        n, size = state["cur_element_count"], state["size_data_per_element"]
        raw = np.asarray(state["data_level0"]).view(np.uint8)[: n * size].reshape(n, size)
        counts = raw[:, :2].copy().view(np.uint16)[:, 0]
        self._links = raw[:, 4 : 4 + 4 * state["max_M0"]].copy().view(np.uint32).astype(np.int32)
        for node in np.flatnonzero(counts < state["max_M0"]).tolist():
            self._links[node, counts[node] :] = self._links[node, 0]
        at = state["label_offset"]
        self.labels = raw[:, at : at + 8].copy().view(np.int64)[:, 0]
        self._vectors = vectors[self.labels]
        self._seen = np.zeros(n, bool)

    @property
    def bytes(self) -> int:
        return self._links.nbytes

    def walk(self, query: Floats, allowed: np.ndarray, start: int) -> list[int]:
        """The K nearest of the allowed nodes."""
        seen, touched = self._seen, [np.array([start])]
        waiting: list[tuple[float, int]] = [(-float(self._vectors[start] @ query), start)]
        best: list[tuple[float, int]] = [(-waiting[0][0], start)] if allowed[start] else []
        seen[start] = True
        while waiting and not (len(best) >= EF and waiting[0][0] > -best[0][0]):
            near = self._links[heapq.heappop(waiting)[1]]
            near = np.unique(near[~seen[near]])
            seen[near] = True
            past = self._links[near[~allowed[near]]].ravel()
            past = np.unique(past[allowed[past] & ~seen[past]])
            seen[past] = True
            touched += [near, past]
            new = np.concatenate([near[allowed[near]], past])
            for distance, node in zip((-(self._vectors[new] @ query)).tolist(), new.tolist(), strict=True):
                if len(best) < EF or distance < -best[0][0]:
                    heapq.heappush(waiting, (distance, node))
                    heapq.heappush(best, (-distance, node))
                    if len(best) > EF:
                        heapq.heappop(best)
        for nodes in touched:
            seen[nodes] = False
        return [node for _, node in sorted(best, reverse=True)[:K]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=96)
    parser.add_argument("--graph", type=Path, help="a saved hnswlib graph of these items")
    args = parser.parse_args()
    work = Workload(items=args.items, dimension=args.dimension, shards=1, users=QUERIES)
    vectors, queries = work.vectors, work.tastes
    graph = _graph(args.graph, vectors)
    start = time.perf_counter()
    two_hop = TwoHop(graph, vectors)
    copied_s = time.perf_counter() - start
    table = Table("match", "exact", "post_filter", "allow_list", "… beside", "two_hop", "recall@10 of two_hop",
                  title=f"{args.items:,} items of {args.dimension} dimensions, ef {EF}")  # fmt: skip
    nodes = np.argsort(two_hop.labels)
    for share in SHARES:
        if share * args.items < 2 * K:
            print(f"left out: {share:g} of {args.items:,} items are too few to look for {K} among them")
            continue
        table.add_row(f"{share:g}", *_row(graph, two_hop, nodes, vectors, queries, share))
    Console(width=110).print(table)
    print(f"copying the links took {copied_s:.2f} s and takes {two_hop.bytes / args.items:.0f} bytes an item")


def _row(
    graph: hnswlib.Index, two_hop: TwoHop, nodes: np.ndarray, vectors: Floats, queries: Floats, share: float
) -> list[str]:
    mask = np.random.default_rng(1).random(len(vectors)) < share
    rows, listed, allowed = np.flatnonzero(mask), mask.view(np.uint8).tobytes().__getitem__, mask[two_hop.labels]
    k = min(int(1.3 * K / share), len(vectors) // 2)

    def exact(query: Floats) -> np.ndarray:
        scores = vectors[rows] @ query
        return rows[np.argpartition(-scores, K)[:K]]

    def walked(query: Floats) -> list[int]:
        start = nodes[graph.knn_query(query, 1, num_threads=1)[0][0, 0]]
        return two_hop.walk(query, allowed, int(start))

    def permitted(query: Floats) -> None:
        graph.knn_query(query, K, num_threads=1, filter=listed)

    plans: list[Callable[[Floats], object]] = [
        exact, lambda query: graph.knn_query(query, k, num_threads=1), permitted, walked,
    ]  # fmt: skip
    scored, filtered, listed_us, hops = (_us(plan, queries, time.thread_time) for plan in plans)
    beside = _beside_python(lambda: _us(permitted, queries[:10], time.perf_counter))
    times = [
        np.isin(rows[np.argsort(-(vectors[rows] @ query))[:10]], two_hop.labels[walked(query)]).mean()
        for query in queries
    ]
    numbers = (scored, filtered, listed_us, beside, hops)
    return [*(f"{us:,.0f}" for us in numbers), f"{np.mean(times):.3f}"]


def _us(plan: Callable[[Floats], object], queries: Floats, clock: Callable[[], float]) -> float:
    """Mean over the queries, of each the faster of two tries."""
    taken = []
    for query in queries:
        tries = []
        for _ in range(2):
            start = clock()
            plan(query)
            tries.append(clock() - start)
        taken.append(min(tries))
    return float(np.mean(taken)) * 1e6


def _beside_python(call: Callable[[], float]) -> float:
    """While another thread runs Python all the time."""
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            pass

    other = threading.Thread(target=spin)
    other.start()
    try:
        return call()
    finally:
        ended.set()
        other.join()


def _graph(saved: Path | None, vectors: Floats) -> hnswlib.Index:
    graph = hnswlib.Index("ip", vectors.shape[1])
    if saved is not None:
        graph.load_index(str(saved))
    else:
        graph.init_index(len(vectors), M, EF_CONSTRUCTION, random_seed=7)
        graph.add_items(vectors, np.arange(len(vectors)))
        with tempfile.TemporaryDirectory() as folder:  # what is loaded is laid out as in a replica
            path = Path(folder) / "graph"
            graph.save_index(str(path))
            put_in_clusters(path, vectors.shape[1], 1)
            graph = hnswlib.Index("ip", vectors.shape[1])
            graph.load_index(str(path))
    graph.set_ef(EF)
    return graph


if __name__ == "__main__":
    main()
