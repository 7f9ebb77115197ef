"""The arithmetic of growth, on costs whose answer is known."""

import argparse
import math

import pytest

from load_tests.growth.forecast import costs, plan


def rows():
    """Made by: 2,000 bytes resident, 900 a version; a walk of 50 + 4 ln n µs beside 300 µs; insertion of 9 ln n µs."""
    made = []
    for axis, values in (("items", [10_000, 100_000, 1_000_000]), ("shards", [1, 2, 4, 8])):
        for value in values:
            n, s = (value, 1) if axis == "items" else (40_000, value)
            made.append(
                {
                    "axis": axis,
                    "value": value,
                    "contender": "recsys",
                    "clients": 32,
                    "shards_own_mib": 150 + n * 2000 / 2**20,
                    "cpu_us": 300 + s * 90 if axis == "shards" else 350 + 4 * math.log(n),
                    "build_cpu_s": n * 9e-6 * math.log(n),
                    "version_bytes": n * 900,
                    "step": {"work": {"items": n, "dimension": 128}},
                }
            )
    return made


def test_costs_are_read_off_the_sweeps():
    c = costs(rows(), 128)
    assert c.resident_b == pytest.approx(2000, rel=0.01)
    assert (c.version_b, c.vector_b) == (900, 512)
    assert c.walk_us[1] == pytest.approx(4)
    assert c.walk_us[0] + 4 * math.log(40_000 / math.sqrt(8)) == pytest.approx(90)
    assert c.request_us == pytest.approx(300)
    assert c.insert_us == pytest.approx((0, 9), abs=1e-6)


def test_wider_vectors_take_a_byte_in_the_graph_and_four_in_the_file():
    narrow, wide = costs(rows(), 128), costs(rows(), 384)
    assert wide.resident_b - narrow.resident_b == pytest.approx(256)
    assert wide.version_b - narrow.version_b == pytest.approx(5 * 256)


def test_a_plan_keeps_to_its_bounds():
    args = argparse.Namespace(rate=1000, per_shard=4_000_000, candidates=50, memory=64, cores=16)
    made = plan(100_000_000, costs(rows(), 128), args)
    assert made["shards S = ⌈N / n⌉"] == 25
    assert made["replicas of each r = max(2, ⌈R w / u⌉)"] == 2
    assert made["memory of their own, N r m"] == f"{100e6 * 2 * 2000 / 2**30:,.0f} GiB"
