"""Values counted by bucket before they are told: what Prometheus is to find. That it does, tests/cluster shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deployments.told_histogram import Buckets

EDGES = (1.0, 2.0, 4.0)


def test_a_value_on_an_edge_lies_below_it() -> None:
    buckets = Buckets(EDGES)
    for value in (0.0, 1.0, 1.5, 4.0, 4.1):
        buckets.add(value)
    assert buckets.take() == ([2, 3, 4, 5], 10.6)


@given(st.lists(st.lists(st.floats(-10, 10))))
def test_what_is_taken_in_parts_is_all_of_it_and_nothing_twice(parts: list[list[float]]) -> None:
    buckets = Buckets(EDGES)
    for values in parts:
        for value in values:
            buckets.add(value)
        within, total = buckets.take()
        assert within == [*(sum(value <= edge for value in values) for edge in EDGES), len(values)]
        assert total == sum(values, 0.0)
    assert buckets.take() == ([0, 0, 0, 0], 0.0)
