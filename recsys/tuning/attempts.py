"""What a build tries, one after the other, until its indexes find enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recsys.config.index import IndexSpec
from recsys.config.platform import AttributeType
from recsys.data.interactions import Interactions
from recsys.datatypes import Floats, Item
from recsys.model.trained import Layout, Trained
from recsys.tuning.balance import choose_balance
from recsys.tuning.measuring import Measured, hopeless
from recsys.tuning.probe_queries import ProbeQueries, probe_queries


@dataclass(frozen=True, slots=True)
class Plan:
    """How indexes are built, what goes into them, and what they are asked; `layout` None: nothing was learned."""

    spec: IndexSpec
    layout: Layout | None
    probes: ProbeQueries

    @property
    def balance(self) -> float:
        return 1.0 if self.layout is None else self.layout.trained.space.balance or 1.0


def plans(
    items: Sequence[Item],
    texts: Floats,
    histories: Interactions | None,
    trained: Trained | None,
    start: IndexSpec,
    declared: Mapping[str, AttributeType],
) -> Iterator[Plan]:
    """Cheapest for serving first, and each made when it is asked for. `texts` are the items' (I, d) unit vectors.

    The balance that the model was built with before is tried first; where there is none, or it does not do any more,
    it is chosen.
    """
    ids = [] if trained is None and histories is None else [item.item_id for item in items]
    if trained is None or not items:
        layout = None if trained is None else trained.layout(items, texts, declared)
        probes = probe_queries(texts, layout, ids, histories)
        yield from (Plan(spec, layout, probes) for spec in (start, *start.stronger()))
        return
    even, dimension = trained.balanced(1.0).layout(items, texts, declared), texts.shape[1]
    probes = probe_queries(texts, even, ids, histories)

    def plan(spec: IndexSpec, balance: float) -> Plan:
        layout = even if balance == 1.0 else trained.balanced(balance).layout(items, texts, declared)
        return Plan(spec, layout, probes.balanced(dimension, balance))

    before = trained.space.balance
    if before is not None:
        yield plan(start, before)
    chosen = choose_balance(even.vectors, dimension, probes, start)
    if chosen != before:
        yield plan(start, chosen)
    yield from (plan(spec, chosen) for spec in start.stronger())


def no_way_left(plan: Plan, measured: Measured) -> str:
    """What to do when the last plan did not do either."""
    return hopeless(*measured.least, plan.spec, measured.ef_search)
