"""Filters for measurements are made of what the items have, in shapes by the share that matches."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.columns import Column
from recsys.datatypes import Item
from recsys.shard.attributes import Attributes
from recsys.tuning.filter_mix import BOTH, NOT, SHAPES, filter_mix

DECLARED = {"kind": "keyword", "tags": "keyword[]", "year": "number", "new": "boolean"}


@pytest.fixture(scope="module")
def items() -> list[Item]:
    rng = np.random.default_rng(3)
    kinds = rng.choice(["a", "b", "c", "d"], 4000, p=[0.5, 0.3, 0.19, 0.01])
    return [
        Item(f"i{n}", attributes={"kind": str(kinds[n]), "tags": [f"t{n % 7}", f"u{n % 70}"], "year": 1950.0 + n % 60,
                                  "new": n % 3 == 0})
        for n in range(4000)
    ]  # fmt: skip


def share(items: list[Item], given) -> float:
    attributes = Attributes(DECLARED, Column(np.float64))
    attributes.extend(0, [item.attributes for item in items])
    return len(attributes.rows(given, len(items))) / len(items)


def test_every_shape_is_there_and_matches_what_it_says(items):
    """With four filters each at the most; two conditions at once match at least a hundredth."""
    shapes = filter_mix(items, DECLARED)
    assert set(shapes) == {*SHAPES, BOTH, NOT}
    for name, (least, most) in SHAPES.items():
        assert 1 <= len(shapes[name]) <= 4
        assert all(least <= share(items, given) < most for given in shapes[name])
    assert all(0.01 <= share(items, given) < 0.33 and len(given.must) == 2 for given in shapes[BOTH])
    assert all(given.must_not and share(items, given) >= 0.25 for given in shapes[NOT])


def test_the_same_items_give_the_same_filters(items):
    assert filter_mix(items, DECLARED) == filter_mix(items, DECLARED)


def test_items_without_attributes_have_no_filters():
    """Nor have items that all have one value."""
    assert filter_mix([Item("a"), Item("b")], DECLARED) == {}
    assert filter_mix([Item("a")], {}) == {}
    same = [Item(f"i{n}", attributes={"year": 2000.0}) for n in range(50)]
    assert filter_mix(same, {"year": "number"}) == {}
