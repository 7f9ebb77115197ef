"""Successive halving (Karnin, Koren and Somekh 2013) over engines and their settings.

All settings are tried on a small sample of the items, a third of them on a larger one, and the best on all items, with
what a shard may keep of the vectors tried beside. What is best is then asked other queries, and has to meet the target
with a probability of 95 % in every group of them. What an engine tries stands beside the engine (`IndexSpec.trials`,
`efforts`), and so does how its cost grows with the items (`cost_growth`), by which samples are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.config.tuning import ShardTuning
from recsys.encoders.catalogue import Progress
from recsys.errors import VersionError
from recsys.tuning.interval import Interval, least
from recsys.tuning.questions import Questions
from recsys.tuning.rung import Catalogue, Rung, Trial
from recsys.tuning.settings import Setting, label, tried_efforts, variants
from recsys.tuning.trial import Measure, Point, measure_apart

_SHARE = 3
"""Of so many settings one goes on to the next rung."""
_LAST = 3
"""Settings that are tried on all items, at the most."""
_FIRST_ITEMS, _NEXT_ITEMS = 10_000, 50_000
"""Items of the first two rungs, at the most: a rung of fourteen settings takes a minute."""
_LEAST_ITEMS = 2000
"""Items of a rung, at the least: on fewer a graph has no depth."""
_ALIKE = 1.1
"""Costs within this factor are alike: then the smaller memory decides."""

Ask = Callable[[bool, int], Questions]
"""Queries: whether other ones than those that chose, and how many of each kind."""
FEW, MANY = 100, 250
"""Queries of each kind on samples, and on all items."""


@dataclass(frozen=True, slots=True)
class Target:
    recall: float
    """Recall@10 of each group of queries."""
    shard_bytes: float | None = None
    """Memory of the process of one shard; None: any."""
    p99_ms: float | None = None
    """Of a query alone; None: any."""


@dataclass(frozen=True, slots=True)
class Tried:
    """How far a setting came. `projected` is what a query costs on all items, CPU microseconds; None: it did not find
    enough.
    """

    trial: Trial
    projected: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The cheapest setting that meets the target, measured with other queries than it was chosen by."""

    trial: Trial
    point: Point

    @property
    def intervals(self) -> dict[str, Interval]:
        return {group: Interval.of(shares) for group, shares in self.point.shares.items()}


@dataclass(frozen=True, slots=True)
class Outcome:
    choice: Choice | None
    """None: no setting met the target."""
    tried: tuple[Tried, ...]
    """The last trial of each setting, cheapest first."""
    left_out: Mapping[str, str]
    """Settings that could not be tried, and why."""


@dataclass
class Halving:
    """`folder`: for files of the rungs, to be removed by the caller. `tuning`: what shards go by besides."""

    catalogue: Catalogue
    target: Target
    tuning: ShardTuning
    folder: Path
    ask: Ask
    say: Progress = lambda *_: None
    measure: Measure = measure_apart

    def run(self, chosen: Sequence[Setting]) -> Outcome:
        tried: dict[str, Tried] = {}
        left_out: dict[str, str] = {}
        sizes = rungs(len(self.catalogue))
        going, dimension = list(chosen), self.catalogue.vectors.shape[1]
        for number, size in enumerate(sizes, 1):
            last = number == len(sizes)
            rung = self._rung(number, size)
            rung.ask(self.ask(False, MANY if last else FEW))
            each = size // len(self.catalogue.parts) if size == len(self.catalogue) else size
            specs = {setting: setting.spec(each, dimension) for setting in going}
            every = [variant for spec in specs.values() for variant in (variants(spec) if last else [spec])]
            for done, spec in enumerate(every):
                self.say(f"rung {number}/{len(sizes)}", done, len(every))
                try:
                    trial = rung.try_out(spec)
                except (VersionError, ImportError, RuntimeError) as error:
                    left_out[label(spec)] = str(error)
                    continue
                tried[label(spec)] = Tried(trial, self._projected(trial))
            self.say(f"rung {number}/{len(sizes)}", len(every), len(every))
            ranked = sorted((tried[label(s)] for s in every if label(s) in tried), key=self._rank)
            if last:
                choice = self._verified(rung, ranked)
                rest = sorted(tried.values(), key=self._rank)
                return Outcome(choice, tuple(rest), left_out)
            keep = max(math.ceil(len(ranked) / _SHARE), 2)
            best = [one.trial.spec for one in ranked[: min(keep, _LAST) if number == len(sizes) - 1 else keep]]
            going = [setting for setting, spec in specs.items() if spec in best]
        raise AssertionError("the last rung has all items")

    def _rung(self, number: int, size: int) -> Rung:
        whole = size == len(self.catalogue)
        some = self.catalogue if whole else self.catalogue.sample(size)
        return Rung(some, self.folder / f"rung-{number}", self.tuning, self.target.recall, self.measure)

    def _verified(self, rung: Rung, ranked: Sequence[Tried]) -> Choice | None:
        """The first that other queries find good enough, at the smallest effort that is."""
        rung.ask(self.ask(True, MANY))
        for done, one in enumerate(ranked):
            self.say("verify", done, len(ranked))
            point = self._enough(one.trial)
            if point is None or not self._fits(one.trial, point):
                continue
            efforts = [effort for effort in tried_efforts(one.trial.spec) if effort >= point.ef_search]
            trial = rung.try_out(one.trial.spec, efforts)
            for point in trial.measurement.points:
                if all(least(shares) >= self.target.recall for shares in point.shares.values()) and self._fits(
                    trial, point
                ):
                    self.say("verify", len(ranked), len(ranked))
                    return Choice(trial, point)
        self.say("verify", len(ranked), len(ranked))
        return None

    def _enough(self, trial: Trial) -> Point | None:
        """At the smallest effort with which each group finds enough."""
        return next((point for point in trial.measurement.points if point.recall >= self.target.recall), None)

    def _projected(self, trial: Trial) -> float | None:
        point = self._enough(trial)
        return None if point is None else point.cpu_us * self._growth(trial)

    def _growth(self, trial: Trial) -> float:
        return (len(self.catalogue) / max(trial.items, 1)) ** trial.spec.cost_growth

    def shard_bytes(self, trial: Trial) -> float:
        """Memory of the process of one shard of all items."""
        bare = trial.measurement.process_bytes - trial.measurement.grown_bytes
        return bare + trial.bytes_an_item * len(self.catalogue) / max(len(self.catalogue.parts), 1)

    def _fits(self, trial: Trial, point: Point) -> bool:
        """Whether memory and latency are within their limits, as far as can be told of all items."""
        memory, p99 = self.target.shard_bytes, self.target.p99_ms
        return (memory is None or self.shard_bytes(trial) <= memory) and (
            p99 is None or point.p99_ms * self._growth(trial) <= p99
        )

    def _rank(self, one: Tried) -> tuple[float, ...]:
        point = self._enough(one.trial)
        if point is None or one.projected is None:
            return (2, -max((p.recall for p in one.trial.measurement.points), default=0.0), 0.0)
        alike = round(math.log(max(one.projected, 1e-9)) / math.log(_ALIKE))
        return (0 if self._fits(one.trial, point) else 1, alike, one.trial.bytes_an_item)


def rungs(items: int) -> list[int]:
    """Items of each rung, the last one all; of a small catalogue all in both."""
    some = [min(items // _SHARE**2, _FIRST_ITEMS), min(items // _SHARE, _NEXT_ITEMS)]
    return [*([size for size in some if size >= _LEAST_ITEMS] or [items]), items]
