"""Where what trees gave is kept, and how much of it."""

from __future__ import annotations

import numpy as np

from recsys.ranking.kept_sums import RESCORED, KeptSums
from recsys.ranking.quickscorer import Trees

TREE = {
    "split_feature": 0,
    "decision_type": "<=",
    "threshold": 0.5,
    "left_child": {"leaf_value": 1.0},
    "right_child": {"leaf_value": 2.0},
}


def kept(most: int) -> KeptSums:
    return KeptSums(Trees({"tree_info": [{"tree_structure": TREE}]}), most)


def test_everybody_has_a_place_and_comes_back_to_it() -> None:
    sums = kept(5)
    first = sums.places_of(["a", "b", "a", "c"])
    assert first[0] == first[2]
    assert len(set(first.tolist())) == 3
    np.testing.assert_array_equal(sums.places_of(["c", "b"]), first[[3, 1]])


def test_no_more_than_so_many_have_one() -> None:
    """Who came first gives theirs to who comes now; two who are there never share one."""
    sums = kept(3)
    for number in range(20):
        sums.places_of([number])
        there = [one for one in range(number - 2, number + 1) if one >= 0]
        assert len(set(sums.places_of(there).tolist())) == len(there) == len(sums)
    assert len(sums.room.sums) == 3 * RESCORED
