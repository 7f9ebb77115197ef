"""One setting measured in a process of its own: what it finds, what a query costs, how much memory the process takes.

The whole shard is measured, not the engine: filters, candidates scored with what the shard keeps of the vectors, the
answer put together. Times are of one thread.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from msgspec import structs
from threadpoolctl import threadpool_limits

from recsys.config.index import IndexSpec
from recsys.config.platform import AttributeType
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Floats, Rows
from recsys.errors import VersionError
from recsys.index.base import engine
from recsys.shard.candidates import QUERY, CandidateSet, ShardQuery
from recsys.shard.probes import nearest_query
from recsys.shard.recall import CANDIDATES
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.snapshot import read_shard
from recsys.state.item_log import START_OF_LOG
from recsys.tuning.questions import Answers, Questions

_BATCH = 32
"""Queries that travel together, as those of a busy platform do."""
ROUNDS = 2
"""The best one counts: other work on the machine only ever adds time."""
SINGLE = 150
"""Queries that are timed alone."""
_FURTHER = 1
"""Efforts tried past the first that finds enough, for the picture."""
_READ = 1 << 18
"""Components read at a time: 1 MiB, of which nothing stays in the heap."""


@dataclass(frozen=True, slots=True)
class Exam:
    """What a setting is asked. `folders` hold the shards; `truth` is the file of their (n, width) float32 vectors."""

    folders: tuple[Path, ...]
    truth: Path
    warm: Path
    """A folder with a shard of a few items and an exact index."""
    declared: Mapping[str, AttributeType]
    questions: Questions
    answers: Answers
    recall: float
    """Of each group; from the first effort that reaches it on, hardly any more are tried."""
    tuning: ShardTuning


@dataclass(frozen=True, slots=True)
class Point:
    """One effort of a setting. `shares` are the (q,) recalls of the queries of each group that want something."""

    ef_search: int
    shares: Mapping[str, Floats]
    cpu_us: float
    """CPU microseconds of a query, in batches of 32, over all groups."""
    p50_ms: float
    p99_ms: float
    """Of queries alone, by the clock; each by its fastest of two."""

    @property
    def recall(self) -> float:
        """Of the group that finds least."""
        return min((float(shares.mean()) for shares in self.shares.values()), default=1.0)


@dataclass(frozen=True, slots=True)
class Measurement:
    points: tuple[Point, ...]
    """By effort, ascending."""
    grown_bytes: int
    """What the process took more for the shards than before it read them."""
    process_bytes: int
    """All of the process: its private memory, and its part of what it shares."""


Measure = Callable[[Exam, IndexSpec, Sequence[int]], Measurement]


def measure_apart(exam: Exam, spec: IndexSpec, efforts: Sequence[int]) -> Measurement:
    """Measure in a fresh process. Raises VersionError when it dies, say for lack of memory, and what `read_shard`
    raises.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, exam, spec, tuple(efforts)).result()
        except BrokenProcessPool:
            raise VersionError(
                f"the process that measured {spec.words} died; is there enough memory for the index?"
            ) from None


def process_bytes() -> int:
    """Of this process: its private memory, and its part of what it shares with others (PSS), where the system tells;
    else the private part.
    """
    memory = psutil.Process().memory_full_info()
    return int(getattr(memory, "pss", 0) or memory.uss)


def _resident_bytes() -> int:
    """Of this process, with all that it shares: its part of that changes as other processes come and go."""
    return int(psutil.Process().memory_info().rss)


def measure(exam: Exam, spec: IndexSpec, efforts: Sequence[int]) -> Measurement:
    """Measure in this process, whose memory then also holds what was there before."""
    with threadpool_limits(1):
        engine(spec).create(spec, exam.questions.vectors.shape[1])  # imports its library
        # A first shard takes what every process needs once, whatever it holds.
        _touch([read_shard(exam.warm, "tuning", IndexSpec.of("flat"), exam.declared, START_OF_LOG)])
        gc.collect()
        before = _resident_bytes()
        shards = [read_shard(folder, "tuning", spec, exam.declared, START_OF_LOG) for folder in exam.folders]
        _touch(shards)
        gc.collect()
        grown, whole = _resident_bytes() - before, process_bytes()
        judge = _Judge(exam, shards)
        points: list[Point] = []
        enough = 0
        for ef_search in efforts:
            for shard in shards:
                shard.tune(exam.tuning.model_copy(update={"ef_search": ef_search, "threads": 1}))
            points.append(judge.point(ef_search))
            enough += points[-1].recall >= exam.recall
            if enough > _FURTHER:
                break
        return Measurement(tuple(points), grown, whole)


def _touch(shards: Sequence[Shard]) -> None:
    """Read every vector, as a replica does within its first minutes: a map that nobody read takes no memory."""
    for shard in shards:
        step = max(_READ // shard.items.width, 1)
        for start in range(0, len(shard.items), step):
            shard.items.vectors(np.arange(start, min(start + step, len(shard.items))))


class _Judge:
    def __init__(self, exam: Exam, shards: Sequence[Shard]) -> None:
        self._exam, self._shards = exam, shards
        self._truth: Floats = np.load(exam.truth, mmap_mode="r", allow_pickle=False)
        keys = np.concatenate([shard.items.keys.view for shard in shards])
        self._order = np.argsort(keys)
        self._keys = keys[self._order]
        m = len(exam.questions)
        self._batches = [self._query(range(start, min(start + _BATCH, m))) for start in range(0, m, _BATCH)]
        self._singles = [self._query(range(j, j + 1)) for j in range(min(m, SINGLE))]

    def _query(self, places: range) -> ShardQuery:
        questions = self._exam.questions
        query = nearest_query("tuning", questions.vectors[places.start : places.stop], CANDIDATES)
        return structs.replace(query, filters=questions.filters[places.start : places.stop])

    def point(self, ef_search: int) -> Point:
        best, answers = float("inf"), []
        for _ in range(ROUNDS):
            start = time.process_time()
            answers = [self._search(query) for query in self._batches]
            best = min(best, time.process_time() - start)
        alone = np.min([[self._seconds(query) for query in self._singles] for _ in range(ROUNDS)], axis=0)
        p50, p99 = (np.quantile(alone, (0.5, 0.99)) * 1e3).tolist()
        shares = np.concatenate([self._shares(number, answer) for number, answer in enumerate(answers)])
        groups = np.array(self._exam.questions.groups)
        measured = ~np.isnan(shares)
        by_group = {
            group: shares[(groups == group) & measured].astype(np.float32)
            for group in dict.fromkeys(self._exam.questions.groups)
            if ((groups == group) & measured).any()
        }
        return Point(ef_search, by_group, best * 1e6 / len(shares), p50, p99)

    def _search(self, query: ShardQuery) -> CandidateSet:
        return CandidateSet.merge([search(shard, query) for shard in self._shards])

    def _seconds(self, query: ShardQuery) -> float:
        start = time.perf_counter()
        self._search(query)
        return time.perf_counter() - start

    def _shares(self, batch: int, answer: CandidateSet) -> Floats:
        """Of each query of a batch, by the order in which the shards put the candidates."""
        questions, first = self._exam.questions, batch * _BATCH
        shares = np.full(len(answer.offsets) - 1, np.nan, np.float32)
        for b in range(len(shares)):
            part = slice(int(answer.offsets[b]), int(answer.offsets[b + 1]))
            order = np.argsort(-answer.likeness[part, QUERY], kind="stable")
            rows = self._rows(answer.keys[part][order])
            scores = np.asarray(self._truth[rows]) @ questions.vectors[first + b]
            shares[b] = self._exam.answers.share(first + b, rows, scores)
        return shares

    def _rows(self, keys: np.ndarray) -> Rows:
        rows: Rows = self._order[np.searchsorted(self._keys, keys)]
        return rows
