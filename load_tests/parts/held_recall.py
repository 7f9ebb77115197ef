"""A shard that holds its recall floor through four disturbances: `python -m load_tests.parts.held_recall`.

A real shard (its index, its search, its live recall, its controller) answers batches at a steady rate in this process.
Its `ef_search` is set far too low, then far too high; half of its items are replaced; people ask for other things. The
plot and the JSON show `ef_search`, the true recall@10 of other searches than those that the controller measures, and
the CPU. With that goes what the best fixed `ef_search` would have cost: the smallest one with which the floor holds, of
each phase by itself, and of all phases together.

CPU is that of the searching thread. What a search costs at an `ef_search` is measured at the end of each phase, the
best of some rounds, so that the comparison holds on a machine that does other work too.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT
from load_tests.parts.recall_phases import Phase, plot, show, summary
from recsys.config.index import IndexSpec
from recsys.config.tuning import RecallTarget, ShardTuning
from recsys.datatypes import Floats, Item
from recsys.index.base import engine
from recsys.serving.recall_holding import RecallHolding
from recsys.shard.item_table import ItemTable
from recsys.shard.live_recall import LiveRecall
from recsys.shard.probes import nearest_query
from recsys.shard.recall import Exact
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher

_TRUTHS = 400
"""Searches that the true recall is of: at 0.95 its standard error is about 0.004."""
_LOOK_S = 2.0
"""Seconds between two looks at the true recall."""
_MEASURED_AGAIN_S = 1.0
"""Least seconds between two measurements, as in a replica."""
_STEPS = tuple(round(10 * 1.15**i) for i in range(33))
"""The fixed settings that are tried: 10 to 876, a seventh apart; costs between them are interpolated."""
_TURNS, _BATCHES = 3, 6
"""How often each is measured, and batches a time."""
_WRITTEN = 16
"""Items written between two batches while items are replaced."""


class Catalogue:
    """Items near a subspace, and searches among them. Seeded: two runs have the same."""

    def __init__(self, items: int, dimension: int, latent: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._dimension, self._latent = dimension, latent
        self.vectors = self.draw(items)

    def draw(self, n: int) -> Floats:
        """(n, d) unit vectors of items, near a subspace of their own."""
        rng, d = self._rng, self._dimension
        plane = rng.standard_normal((self._latent, d)) / np.sqrt(self._latent)
        return _unit(rng.standard_normal((n, self._latent)) @ plane + 0.1 * rng.standard_normal((n, d)))

    def usual(self, n: int) -> Floats:
        """(n, d) searches near items."""
        rng = self._rng
        near = self.vectors[rng.integers(0, len(self.vectors), n)]
        return _unit(near + 0.5 / np.sqrt(self._dimension) * rng.standard_normal(near.shape))

    def shifted(self, n: int) -> Floats:
        """(n, d) searches between three items that have nothing to do with each other."""
        rng = self._rng
        return _unit(self.vectors[rng.integers(0, len(self.vectors), (n, 3))].sum(axis=1))


def _unit(vectors: Any) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._titles = count()
        self.catalogue = Catalogue(args.items, args.dimension, args.latent, 7)
        spec = IndexSpec.of(args.engine, m=args.m, ef_construction=100)
        vectors = self.catalogue.vectors
        table = ItemTable({}, args.dimension, Sketcher.fit(vectors))
        index = engine(spec).create(spec, args.dimension)
        items = self._items([f"i{i}" for i in range(args.items)])
        rows = table.append(items, vectors)
        index.add(rows, vectors, 2)
        table.reveal(items, rows)
        self.shard = Shard("v", table, index)
        self.target = RecallTarget(floor=args.floor, min_ef=8, max_ef=1000, exact_items=0)
        self.holding = RecallHolding("shard-0", exact=False)
        self.live = LiveRecall()
        self.series: list[dict[str, Any]] = []
        self.phases: list[Phase] = []
        self.draw = self.catalogue.usual
        self.began = time.monotonic()

    def _items(self, ids: Sequence[str]) -> list[Item]:
        """With titles of their own: an item takes over the vector of another one with its title and text."""
        return [Item(item_id, f"title {next(self._titles)}") for item_id in ids]

    def tune(self, ef: int) -> None:
        """As an operator would by the config file."""
        self.holding.tune(self.shard, ShardTuning(ef_search=ef, recall=self.target, recall_share=self.args.share))

    def phase(self, name: str, seconds: float, writes: Iterator[None] | None = None) -> None:
        phase = Phase(name, self.now)
        self.phases.append(phase)
        truth, looked, measured_at = self._truth(), -_LOOK_S, self.now
        pool, batch, sent = self.draw(20_000), self.args.batch, 0
        began = self.now
        while self.now - began < seconds or writes is not None:
            if writes is not None and next(writes, "end") == "end":
                writes, truth, pool = None, self._truth(), self.draw(20_000)  # of the items that are there now
            part = pool[np.arange(sent, sent + batch) % len(pool)]
            query = nearest_query("v", part, self.args.candidates)
            ef = self.shard.tuning.ef_search
            search(self.shard, query)
            self.live.offer(query)
            sent += batch
            phase.searches_at[ef] = phase.searches_at.get(ef, 0) + batch
            if self.now >= measured_at:
                measured = self.live.measure(self.shard)
                phase.shadow_s += measured.spent_s
                self.holding.observe(self.shard, measured, self.now)
                rest_s = max(self.holding.rest_s, _MEASURED_AGAIN_S)
                measured_at = self.now + max(measured.spent_s / self.args.share, rest_s)
            if self.now - looked >= _LOOK_S:
                if writes is not None:
                    truth = self._truth()
                looked = self.now
                self._look(truth)
            time.sleep(max(began + sent / self.args.rate - self.now, 0.0))
        phase.ends = self.now
        phase.regained_s = self._regained(phase)
        phase.fixed = self._fixed()
        skipped = self.now - phase.ends  # measuring the fixed settings is no part of the run
        self.began += skipped

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    def _truth(self) -> Exact:
        return Exact.of([self.shard], self.draw(_TRUTHS), asked=np.full(_TRUTHS, self.args.candidates))

    def _look(self, truth: Exact) -> None:
        state = self.holding.state()
        assert state is not None
        recall = int(truth.found().sum()) / int(truth.wanted.sum())
        self.series.append(
            {"t": round(self.now, 2), "ef_search": state.ef_search, "recall": round(recall, 4), "lower": state.lower,
             "searches": state.searches, "why": state.why}
        )  # fmt: skip

    def _regained(self, phase: Phase) -> float | None:
        """The look from which on the floor held for ten seconds, but for what 400 searches say by chance."""
        looks = [one for one in self.series if one["t"] >= phase.begins]
        for i, one in enumerate(looks):
            after = [later["recall"] for later in looks[i:] if later["t"] <= one["t"] + 10]
            if one["recall"] >= self.args.floor and min(after) >= self.args.floor - 0.01:
                return round(one["t"] - phase.begins, 1)
        return None

    def _fixed(self) -> dict[int, tuple[float, float]]:
        """Recall and CPU of the fixed settings, each measured some times in turn; the best time counts."""
        args, shard, truth, before = self.args, self.shard, self._truth(), self.shard.tuning.ef_search
        queries = [nearest_query("v", self.draw(args.batch), args.candidates) for _ in range(_BATCHES)]
        recalls: dict[int, float] = {}
        costs: dict[int, float] = {}
        for turn in range(_TURNS):
            for ef in _STEPS:
                shard.hold(ef, exact=False)
                if not turn:
                    recalls[ef] = int(truth.found().sum()) / int(truth.wanted.sum())
                start = time.thread_time()
                for query in queries:
                    search(shard, query)
                spent = (time.thread_time() - start) / (len(queries) * args.batch)
                costs[ef] = min(costs.get(ef, spent), spent)
        shard.hold(before, exact=False)
        return {ef: (round(recalls[ef], 4), costs[ef]) for ef in _STEPS}

    def replace_half(self) -> Iterator[None]:
        """Other items in the place of every second one, some at a time."""
        ids = [f"i{i}" for i in range(0, self.args.items, 2)]
        new = self.catalogue.draw(len(ids))
        for start in range(0, len(ids), _WRITTEN):
            part = slice(start, start + _WRITTEN)
            self.shard.upsert(self._items(ids[part]), new[part])
            self.shard.fresh.link()
            yield
        self.catalogue.vectors = np.concatenate([self.catalogue.vectors[1::2], new])


def main() -> None:
    args = arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with threadpool_limits(1):  # as in a replica: then its CPU is that of its thread
        measure(args)


def measure(args: argparse.Namespace) -> None:
    run = Run(args)
    run.tune(64)
    what = f"{args.items:,} items of {args.dimension} dimensions ({args.engine})"
    print(f"{what}, {args.rate:g} searches/s, floor {args.floor}")
    run.phase("begins at 64", args.seconds / 2)
    run.tune(8)
    run.phase("ef_search far too low", args.seconds)
    run.tune(1000)
    run.phase("ef_search far too high", args.seconds)
    run.phase("half of the items new", args.seconds, run.replace_half())
    run.draw = run.catalogue.shifted
    run.phase("queries shifted", args.seconds)
    outcome = summary(args, run.phases, run.series)
    show(outcome, args.floor)
    results.write(outcome, args.out / "held-recall.json")
    plot(outcome, args.floor, args.out / "held-recall.png")
    print(f"written: {args.out / 'held-recall.json'}, {args.out / 'held-recall.png'}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m load_tests.parts.held_recall", description=__doc__)
    add = parser.add_argument
    add("--items", type=int, default=20_000)
    add("--dimension", type=int, default=96)
    add("--latent", type=int, default=48, help="dimensions of the subspace: more are harder to search")
    add("--engine", default="hnsw")
    add("--m", type=int, default=12, help="of the graph")
    add("--candidates", type=int, default=10, help="of a search")
    add("--rate", type=float, default=600.0, help="searches a second")
    add("--batch", type=int, default=16)
    add("--seconds", type=float, default=120.0, help="of a phase")
    add("--share", type=float, default=0.005, help="recall_share: of a core, for answering again")
    add("--floor", type=float, default=0.95)
    add("--out", type=Path, default=ROOT / "var")
    return parser.parse_args()


if __name__ == "__main__":
    main()
