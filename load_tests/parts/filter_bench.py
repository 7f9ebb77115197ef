"""Searches under filters: the planner of a shard beside each single plan, in one process.

    python -m load_tests.parts.filter_bench                                    # 20,000 items, under a minute
    python -m load_tests.parts.filter_bench --items 200000 --output var/filters.json   # as in docs/benchmarks.md

Filters leave 50 to 0.01 % of the items: by one attribute, by two of them, by what an item is not, and by where the
items lie, around the query (`near`), anywhere but around it (`far`), and as far from it as items lie (`opposite`).
Times are of the thread that searches, in µs a query: of each query the plans are timed in turn, `--rounds` times, and
the fastest time of each counts. Ratio: the planner's time over that of the best single plan of the row. Recall counts
the ten exactly nearest matches among the 50 candidates that a shard gives.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import mean

import numpy as np
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from load_tests.parts.filter_cases import SHARES, Case, World, cases, equivalents, make_world
from recsys.datatypes import Filter, Floats, Rows
from recsys.shard.candidates import ShardQuery
from recsys.shard.item_table import ItemTable
from recsys.shard.match_depth import Depths, Estimate
from recsys.shard.neighbours import Nearest, nearest
from recsys.shard.plans import Planner, named
from recsys.shard.probes import nearest_query
from recsys.shard.recall import CANDIDATES
from recsys.shard.shard import Shard

NOTHING = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class Outcome:
    """`us` by plan: mean microseconds a query."""

    name: str
    share: float
    plans: str
    recall: float
    short: int
    """Queries that got fewer candidates than match."""
    us: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.us["planner"] / min(us for plan, us in self.us.items() if plan != "planner")


class Always(Planner):
    """Walks, or never does; with an allow-list wherever there is one."""

    def __init__(self, planner: Planner, *, walks: bool) -> None:
        super().__init__(planner.costs)
        self._walks = walks

    def walks(self, depths: np.ndarray, listed: np.ndarray | None, least_ef: int) -> tuple[np.ndarray, np.ndarray]:
        seconds, by_list = super().walks(depths, listed, least_ef)
        return seconds, by_list if listed is None else np.isfinite(listed)

    def walking(self, walks: np.ndarray, matching: int, spent: np.ndarray) -> np.ndarray:  # noqa: ARG002
        return np.full(len(walks), self._walks) & np.isfinite(walks)


class Shares(Depths):
    """Depths by the share of the items that match, wherever they lie: what a planner without a sample would take."""

    def __init__(self, items: ItemTable) -> None:
        super().__init__(items)
        self._live = items.live

    def estimate(
        self,
        queries: Floats,  # noqa: ARG002
        wanted: Rows,
        mask: np.ndarray,  # noqa: ARG002
        matching: int,
        *,
        allow_list: bool = False,
    ) -> Estimate:
        each = wanted * self._live / max(matching, 1)
        return Estimate(np.minimum(1.3 * each, self._live), 0.8 * each if allow_list else None)


@contextmanager
def going_by(shard: Shard, planner: Planner, depths: Depths, *, allow_list: bool) -> Iterator[None]:
    """Searches of the shard, as another planner has them; with an allow-list, where the engine has that, or without."""
    before, graph = (shard.planner, shard.depths), getattr(getattr(shard.index, "graph", None), "walked", None)
    shard.planner, shard.depths = planner, depths
    if graph is not None:
        graph.selects = type(graph).selects and allow_list
    try:
        yield
    finally:
        shard.planner, shard.depths = before
        if graph is not None:
            del graph.selects


def main() -> None:
    args = _arguments()
    with threadpool_limits(1):  # of the threads only the one that searches is timed
        run(args)


def run(args: argparse.Namespace) -> None:
    world = make_world(args.items, args.dimension, args.queries, args.engine, args.ef)
    costs = world.shard.planner.costs
    print(f"costs: {json.dumps({name: float(f'{cost:.3g}') for name, cost in asdict(costs).items()})}")
    outcomes = [measure(world, case, args.batch, args.rounds) for case in cases(world, args.shares)]
    show(outcomes, f"{args.items:,} items of {args.dimension} dimensions, {args.engine}, ef_search {args.ef}, "
                   f"{args.queries} queries in batches of {args.batch}")  # fmt: skip
    equal = all(equivalent(world, given, other) for given, other in equivalents(world))
    print(f"equivalent filters give equal answers: {'yes' if equal else 'NO'}")
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps([asdict(outcome) | {"ratio": outcome.ratio} for outcome in outcomes]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=96)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1, help="queries of a call")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--shares", type=lambda text: [float(part) for part in text.split(",")], default=SHARES)
    parser.add_argument("--engine", default="hnsw")
    parser.add_argument("--ef", type=int, default=256, help="ef_search of the shard")
    parser.add_argument("--output", type=Path, help="JSON file")
    return parser.parse_args()


def ask(world: World, places: Rows, filters: Sequence[Filter | None]) -> ShardQuery:
    query = nearest_query("bench", world.queries[places], CANDIDATES)
    return replace(query, filters=tuple(filters[place] for place in places.tolist()))


def proposed(neighbours: Nearest, requests: int) -> list[Rows]:
    """The rows that each request gets."""
    rows = np.concatenate([p.rows for p in neighbours.proposals])
    of = np.concatenate([p.requests for p in neighbours.proposals])
    return [np.unique(rows[of == request]) for request in range(requests)]


def equivalent(world: World, given: Filter, other: Filter) -> bool:
    places, m = np.arange(min(len(world.queries), 20)), len(world.queries)
    answers = [
        proposed(nearest(world.shard, ask(world, places, [each] * m), NOTHING), len(places)) for each in (given, other)
    ]
    return all(np.array_equal(a, b) for a, b in zip(*answers, strict=True))


def measure(world: World, case: Case, batch: int, rounds: int) -> Outcome:
    shard = world.shard
    planner, depths, shares = shard.planner, shard.depths, Shares(shard.items)
    exact, walks = Always(planner, walks=False), Always(planner, walks=True)
    contenders: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "planner": lambda: going_by(shard, planner, depths, allow_list=True),
        "exact": lambda: going_by(shard, exact, depths, allow_list=True),
        "post_filter": lambda: going_by(shard, walks, shares, allow_list=False),
    }
    if shard.index.selects:
        contenders["allow_list"] = lambda: going_by(shard, walks, shares, allow_list=True)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    hits, wanted, short, plans, matching = 0, 0, 0, Counter[str](), 0
    for start in range(0, len(world.queries), batch):
        places = np.arange(start, min(start + batch, len(world.queries)))
        query = ask(world, places, case.filters)
        for given in query.filters:
            shard.lists.matches(given)  # what is cached by the first contender is not the cost of that contender
            if given is not None and shard.index.selects:
                shard.allow_lists.of(given)
        best = dict.fromkeys(contenders, math.inf)
        names = list(contenders)
        for turn in range(rounds):  # who comes later finds more in the core's cache, so each is first in its turn
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                with contenders[name]():
                    best[name] = min(best[name], _cpu(partial(nearest, shard, query, NOTHING)))
        for name, seconds in best.items():
            taken[name].append(seconds * 1e6 / len(places))
        neighbours = nearest(shard, query, NOTHING)
        for request, rows in enumerate(proposed(neighbours, len(places))):
            matches = shard.lists.matches(query.filters[request])
            scores = world.vectors[matches] @ query.vectors[request]
            nearest_ten = matches[np.argsort(-scores)[:10]]
            hits, wanted = hits + len(np.intersect1d(rows, nearest_ten)), wanted + len(nearest_ten)
            short += len(rows) < min(CANDIDATES, len(matches))
            searched = neighbours.searched.get(request)
            plans.update(["walk" if searched is None else "+".join(named(searched.plans))])
            matching += len(matches)
    return Outcome(
        case.name,
        matching / len(world.queries) / shard.items.live,
        " ".join(f"{plan} {count}" for plan, count in plans.most_common()),
        hits / wanted if wanted else 1.0,
        short,
        {name: mean(us) for name, us in taken.items()},
    )


def _cpu(call: Callable[[], object]) -> float:
    """Seconds of this thread."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def show(outcomes: Sequence[Outcome], title: str) -> None:
    plans = list(outcomes[0].us)
    table = Table("filter", "match", "planner chose", "recall@10", "short", *plans, "ratio", title=title)
    for o in outcomes:
        times = (f"{o.us[plan]:,.0f}" for plan in plans)
        table.add_row(o.name, f"{o.share:.3%}", o.plans, f"{o.recall:.4f}", str(o.short), *times, f"{o.ratio:.2f}")
    Console(width=140).print(table)
    print(f"least recall {min(o.recall for o in outcomes):.4f}, largest ratio {max(o.ratio for o in outcomes):.2f}, "
          f"answers with fewer than match {sum(o.short for o in outcomes)}")  # fmt: skip


if __name__ == "__main__":
    main()
