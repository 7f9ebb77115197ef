"""What the kinds of a shop's requests cost one another: recommendations alone, beside one other kind, beside all.

    python -m load_tests.growth.steady --kinds

Each kind comes as often as in the whole mix, so a row with more kinds has more requests. Slices of the rows take turns:
whatever else the machine does meanwhile falls on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from load_tests.growth.mixed_load import MIX, Latencies, Mix, SteadyLoad

_NAMES = {"event": "events", "write": "items written", "similar": "similar items"}
_ROWS = (("recommend",), *(("recommend", kind) for kind in _NAMES), tuple(MIX))
"""Kinds that come together."""
_SECONDS, _ROUNDS = 8, 3


@dataclass(frozen=True)
class Row:
    """What kinds came together, and how long each took."""

    by_kind: dict[str, Latencies]

    @property
    def name(self) -> str:
        """Such as `with 116 events`: how many a second there were of the kind beside the recommendations."""
        beside = [kind for kind in self.by_kind if kind != "recommend"]
        if not beside:
            return "recommendations alone"
        if len(beside) == len(_NAMES):
            return "all of them"
        return f"with {self._rps(beside):,.0f} {_NAMES[beside[0]]}"

    @property
    def rps(self) -> float:
        """Requests a second, of all kinds."""
        return self._rps(list(self.by_kind))

    def _rps(self, kinds: Sequence[str]) -> float:
        return sum(self.by_kind[kind].requests / self.by_kind[kind].seconds for kind in kinds)


def measured(mix: Mix, rate: float) -> list[Row]:
    """The rows at their part of `rate` requests a second of the whole mix. The first round is not counted: in it the
    loads learn how long answers take.
    """
    loads = [SteadyLoad(mix, rate, kinds) for kinds in _ROWS]
    slices: list[list[dict[str, Latencies]]] = [[] for _ in loads]
    for turn in range(1 + _ROUNDS):
        for load, some in zip(loads, slices, strict=True):
            one = load.slice(_SECONDS)
            if turn:
                some.append(one)
    return [Row({kind: _one_after_another([one[kind] for one in some]) for kind in some[0]}) for some in slices]


def _one_after_another(parts: Sequence[Latencies]) -> Latencies:
    whole = Latencies.together(parts)
    return Latencies(sum(part.seconds for part in parts), whole.errors, whole.ms, whole.counts)


def show(rows: Sequence[Row]) -> None:
    columns = ("requests", "a second in all", "p50 ms", "p99 ms", "p99.9 ms", "errors")
    table = Table(*columns, title="Recommendations, by what comes beside them")
    for row in rows:
        at = [f"{row.by_kind['recommend'].at(percent):,.1f}" for percent in (50, 99, 99.9)]
        table.add_row(row.name, f"{row.rps:,.0f}", *at, str(sum(one.errors for one in row.by_kind.values())))
    Console(width=100).print(table)
