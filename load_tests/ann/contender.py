"""One contender in a process of its own: `python -m load_tests.ann.contender build|serve NAME DATA FOLDER …`.

The process that built is gone when the next one opens what it saved and is measured: its memory is what serving takes.
Prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import psutil

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

K, BATCH, THREADS = 10, 32, 2
_ALONE = 1000
"""Queries that are timed one by one."""
_ROUNDS = 3
_EXACT_TO = 50
"""An effort is found to this part of itself: recall changes by a thousandth or less then."""
NAMES = {
    "hnswlib": "load_tests.ann.raw.hnswlib",
    "usearch": "load_tests.ann.raw.usearch",
    "voyager": "load_tests.ann.raw.voyager",
    "qdrant-edge": "load_tests.ann.raw.qdrant",
    "pgvector": "load_tests.ann.raw.pgvector",
    "milvus": "load_tests.ann.raw.milvus",
    "recsys": "load_tests.ann.ours",
}
"""Name -> module with a class `Driver`. `recsys:ENGINE` is our shard with that engine."""


class Driver(Protocol):
    """What a module brings. `kind`: what stands behind the colon of the name."""

    efforts: range
    """What its knob can be set to, one apart; more finds more."""

    def __init__(self, kind: str) -> None: ...

    def build(self, vectors: Floats, folder: Path, threads: int) -> None:
        """Index (n, d) unit vectors and save all that `open` needs; end what was started for it."""

    def open(self, folder: Path, dimension: int) -> None: ...

    def tune(self, effort: int) -> None: ...

    def search(self, queries: Floats) -> Any:
        """(m, d) -> the ten nearest of each, best first, as the contender names them, on one thread."""

    def rows(self, answer: Any) -> Ints:
        """The same as (m, 10) numbers of vectors; -1 where there are fewer. It is not timed."""

    def other(self) -> Self:
        """For another thread: the same index, another connection."""

    def servers(self) -> list[psutil.Process]:
        """Processes that it runs beside this one."""

    def close(self) -> None: ...


def driver(name: str) -> Driver:
    module, _, kind = name.partition(":")
    driver: Driver = import_module(NAMES[module]).Driver(kind)
    return driver


def main() -> None:
    action, name, data, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
    contender = driver(name)
    if action == "build":
        result = build(contender, data, folder)
    else:
        result = serve(contender, data, folder, float(sys.argv[5]), float(sys.argv[6]))
    print(json.dumps(result), flush=True)


def build(contender: Driver, data: Path, folder: Path) -> dict[str, Any]:
    vectors = np.load(data / "vectors.npy")
    start = time.perf_counter()
    contender.build(vectors, folder, THREADS)
    return {"build_s": round(time.perf_counter() - start, 1)}


def serve(contender: Driver, data: Path, folder: Path, recall: float, seconds: float) -> dict[str, Any]:
    queries, truth = np.load(data / "queries.npy"), np.load(data / "truth.npy")
    contender.open(folder, queries.shape[1])
    try:
        return measure(contender, queries, truth, recall, seconds)
    finally:
        contender.close()


def measure(contender: Driver, queries: Floats, truth: Ints, recall: float, seconds: float) -> dict[str, Any]:
    """At the smallest effort that reaches the recall, else at the largest."""
    batches = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
    effort, reached = set_for(contender, batches, truth, recall)
    cpu, requests = _cpu(contender), 0
    rates = []
    for _ in range(_ROUNDS):
        count, taken = _for(seconds / _ROUNDS, contender.search, batches)
        rates.append(count / taken)
        requests += count
    cpu_us = (_cpu(contender) - cpu) / requests * 1e6
    return {
        "effort": effort,
        "recall": round(reached, 4),
        "reached": reached >= recall,
        "queries_s": round(float(np.median(rates))),
        "queries_s_2_threads": round(_two_threads(contender, batches, effort, seconds)),
        "cpu_us": round(cpu_us, 1),
        **_alone(contender, queries),
        "process_mib": round(_memory(contender) / 2**20, 1),
    }


def set_for(contender: Driver, batches: list[Floats], truth: Ints, recall: float) -> tuple[int, float]:
    """Tune to the smallest effort that reaches the recall, within a fiftieth. Return it and the recall that it has.

    The effort is doubled until it is enough, and then bisected. The largest where none is enough.
    """

    def tried(effort: int) -> float:
        contender.tune(effort)
        return recall_of(np.concatenate([contender.rows(contender.search(batch)) for batch in batches]), truth)

    least, most = contender.efforts[0], contender.efforts[-1]
    low, high, reached = least - 1, least, tried(least)
    while reached < recall and high < most:
        low, high = high, min(2 * high, most)
        reached = tried(high)
    if reached < recall:
        return high, reached
    while high - low > max(high // _EXACT_TO, 1):
        middle = (low + high) // 2
        share = tried(middle)
        if share >= recall:
            high, reached = middle, share
        else:
            low = middle
    contender.tune(high)
    return high, reached


def recall_of(rows: Ints, truth: Ints) -> float:
    """Share of the ten exactly nearest that are among the answers."""
    return float((rows[:, :, None] == truth[:, None, :]).any(axis=1).mean())


def _for(seconds: float, search: Callable[[Floats], object], batches: list[Floats]) -> tuple[int, float]:
    """Queries, and the seconds that they took."""
    start, count = time.perf_counter(), 0
    while True:
        for batch in batches:
            search(batch)
            count += len(batch)
            if (taken := time.perf_counter() - start) >= seconds:
                return count, taken


def _two_threads(contender: Driver, batches: list[Floats], effort: int, seconds: float) -> float:
    """Queries a second of two threads, each with its own batches."""
    others = [contender.other() for _ in range(THREADS)]
    for other in others:
        other.tune(effort)
    with ThreadPoolExecutor(THREADS) as pool:
        halves = [batches[number::THREADS] or batches for number in range(THREADS)]
        runs = [pool.submit(_for, seconds, other.search, half) for other, half in zip(others, halves, strict=True)]
        return sum(count / taken for count, taken in (run.result() for run in runs))


def _alone(contender: Driver, queries: Floats) -> dict[str, float]:
    taken = []
    for number in range(_ALONE):
        query = queries[number % len(queries)][None]
        start = time.perf_counter()
        contender.search(query)
        taken.append(time.perf_counter() - start)
    p50, p99 = np.quantile(taken, (0.5, 0.99)) * 1e3
    return {"p50_ms": round(float(p50), 3), "p99_ms": round(float(p99), 3)}


def _cpu(contender: Driver) -> float:
    """Seconds of this process and its servers."""
    servers = [process.cpu_times() for process in contender.servers()]
    return time.process_time() + sum(times.user + times.system for times in servers)


def _memory(contender: Driver) -> int:
    """Bytes of this process and its servers: what is their own, and their part of what they share."""
    return sum(process.memory_full_info().pss for process in [psutil.Process(), *contender.servers()])


if __name__ == "__main__":
    main()
