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
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from load_tests.comparison import results
from load_tests.comparison.bench import ROOT
from recsys.config.index import IndexSpec
from recsys.config.tuning import RecallTarget, ShardTuning
from recsys.datatypes import Floats, Item
from recsys.index.base import engine
from recsys.serving.recall_holding import RecallHolding
from recsys.shard.item_table import ItemTable
from recsys.shard.live_recall import LiveRecall
from recsys.shard.recall import Exact, nearest_query
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


@dataclass
class Phase:
    """A disturbance and what follows. Times in seconds of the run."""

    name: str
    begins: float
    ends: float = 0.0
    regained_s: float | None = None
    """From the disturbance to the moment from which the true recall was over the floor; None: it never was."""
    searches_at: dict[int, int] = field(default_factory=dict)
    """`ef_search` -> searches that were answered with it."""
    shadow_s: float = 0.0
    """CPU seconds of answering searches again."""
    fixed: dict[int, tuple[float, float]] = field(default_factory=dict)
    """`ef_search` -> true recall, CPU seconds of a search; of this phase's items and searches."""

    def cost(self, ef: int) -> float:
        """CPU seconds of a search."""
        steps = sorted(self.fixed)
        return float(np.interp(ef, steps, [self.fixed[step][1] for step in steps]))

    def best_fixed(self, floor: float) -> int:
        return next((ef for ef in sorted(self.fixed) if self.fixed[ef][0] >= floor), max(self.fixed))

    @property
    def searches(self) -> int:
        return sum(self.searches_at.values())

    @property
    def spent_s(self) -> float:
        return sum(n * self.cost(ef) for ef, n in self.searches_at.items()) + self.shadow_s


class Run:
    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self._titles = count()
        self.catalogue = Catalogue(args.items, args.dimension, args.latent, 7)
        spec = IndexSpec.of(args.engine, m=args.m, ef_construction=100)
        vectors = self.catalogue.vectors
        table = ItemTable({}, args.dimension, Sketcher.fit(vectors))
        self.shard = Shard("v", table, engine(spec).create(spec, args.dimension))
        items = self._items([f"i{i}" for i in range(args.items)])
        rows = self.shard.items.append(items, vectors)
        self.shard.index.add(rows, vectors, 2)
        self.shard.items.reveal(items, rows)
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
        found = int(truth.found().sum()) / int(truth.wanted.sum())
        self.series.append(
            {"t": round(self.now, 2), "ef_search": state.ef_search, "recall": round(found, 4), "lower": state.lower,
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
        recalls, costs = {}, {}
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
    found = summary(run)
    show(found, args.floor)
    results.write(found, args.out / "held-recall.json")
    plot(found, args.floor, args.out / "held-recall.png")
    print(f"written: {args.out / 'held-recall.json'}, {args.out / 'held-recall.png'}")


def summary(run: Run) -> dict[str, Any]:
    floor, phases = run.args.floor, run.phases
    for_all = max(phase.best_fixed(floor) for phase in phases)
    rows = [
        {
            "phase": phase.name,
            "begins_s": round(phase.begins, 1),
            "ends_s": round(phase.ends, 1),
            "regained_s": phase.regained_s,
            "mean_recall": round(float(np.mean(_recalls(run.series, phase))), 4),
            "ends_at_ef": run.series[_last(run.series, phase.ends)]["ef_search"],
            "best_fixed_ef": phase.best_fixed(floor),
            "cpu_us": round(1e6 * phase.spent_s / phase.searches, 1),
            "best_fixed_us": round(1e6 * phase.cost(phase.best_fixed(floor)), 1),
            "one_fixed_us": round(1e6 * phase.cost(for_all), 1),
            "shadow_us": round(1e6 * phase.shadow_s / phase.searches, 1),
            "shadow_share": round(phase.shadow_s / (phase.ends - phase.begins), 4),
        }
        for phase in phases
    ]
    spent, searches = sum(p.spent_s for p in phases), sum(p.searches for p in phases)
    each = sum(p.searches * p.cost(p.best_fixed(floor)) for p in phases)
    one = sum(p.searches * p.cost(for_all) for p in phases)
    return {
        "machine": results.machine(),
        "args": {name: str(value) for name, value in vars(run.args).items()},
        "one_fixed_ef": for_all,
        "searches": searches,
        "over_one_fixed": round(spent / one - 1.0, 4),
        "over_the_best_of_each_phase": round(spent / each - 1.0, 4),
        "phases": rows,
        "series": run.series,
    }


def _recalls(series: list[dict[str, Any]], phase: Phase) -> list[float]:
    return [one["recall"] for one in series if phase.begins <= one["t"] <= phase.ends]


def _last(series: list[dict[str, Any]], until: float) -> int:
    return max(i for i, one in enumerate(series) if one["t"] <= until)


def show(found: dict[str, Any], floor: float) -> None:
    table = Table(
        "phase", "floor again after", "mean recall@10", "ef at its end", "best fixed ef", "CPU µs", "best fixed",
        f"fixed {found['one_fixed_ef']}", "of which shadow", title=f"recall floor {floor}",
    )  # fmt: skip
    for row in found["phases"]:
        regained = "never" if row["regained_s"] is None else f"{row['regained_s']:.0f} s"
        table.add_row(
            row["phase"], regained, f"{row['mean_recall']:.4f}", str(row["ends_at_ef"]), str(row["best_fixed_ef"]),
            *(f"{row[f'{cost}_us']:.0f}" for cost in ("cpu", "best_fixed", "one_fixed", "shadow")),
        )  # fmt: skip
    Console(width=140).print(table)
    print(
        f"CPU of the whole run: {found['over_one_fixed']:+.1%} over ef_search {found['one_fixed_ef']} throughout, the "
        f"least that holds the floor in every phase; {found['over_the_best_of_each_phase']:+.1%} over the best of each"
    )


def plot(found: dict[str, Any], floor: float, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - takes a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    times = [one["t"] for one in found["series"]]
    figure, (recall, ef) = plt.subplots(2, 1, figsize=(11, 6.5), sharex=True)
    recall.plot(times, [one["recall"] for one in found["series"]], label="true recall@10 (400 other searches)")
    recall.plot(times, [one["lower"] for one in found["series"]], label="lower bound, as measured", lw=0.9)
    recall.axhline(floor, color="black", lw=0.8, ls="--", label=f"floor {floor}")
    recall.set_ylim(0.7, 1.0)
    recall.set_ylabel("recall@10")
    recall.legend(loc="lower right", fontsize=8)
    ef.step(times, [one["ef_search"] for one in found["series"]], where="post", label="ef_search")
    for row in found["phases"]:
        ef.hlines(row["best_fixed_ef"], row["begins_s"], row["ends_s"], color="tab:green", lw=1.2)
        for axis in (recall, ef):
            axis.axvline(row["begins_s"], color="grey", lw=0.6)
        ef.text(row["begins_s"], 1100, row["phase"], fontsize=8)
    ef.plot([], [], color="tab:green", label="least that holds the floor")
    ef.set_yscale("log")
    ef.set_ylabel("ef_search")
    ef.set_xlabel("seconds")
    ef.legend(loc="upper right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


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
