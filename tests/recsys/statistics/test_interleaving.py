"""Slates of two rankers, and what clicks on them say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recsys.statistics.interleaving import credited, preference
from recsys.statistics.team_draft import NEITHER, A, B, team_draft
from tests.support.any_text import any_text

Lists = st.lists(st.sampled_from([f"i{n}" for n in range(12)]), unique=True, max_size=12)


@given(Lists, Lists, st.integers(1, 12), any_text(max_size=5))
def test_a_draft_is_fair_and_whole(a, b, k, seed):
    """No item twice, as many as there are, each at its ranker's turn, and never two items more for one team."""
    chosen, teams = team_draft(a, b, k, seed)
    lists = (a, b)
    ids = [lists[ranker][place] for ranker, place in chosen]
    assert len(set(ids)) == len(ids) == min(k, len({*a, *b}))
    assert (chosen, teams) == team_draft(a, b, k, seed)
    for ranker in (A, B):
        own = [place for (side, place), team in zip(chosen, teams, strict=True) if side == ranker and team != NEITHER]
        assert own == sorted(own)
    if len(ids) < len({*a, *b}):  # a ranker that has run out of items leaves the turns to the other
        assert abs(teams.count(A) - teams.count(B)) <= 1 or len(a) != len(b)


def test_equal_lists_tell_nothing():
    """Nobody drafts what both have at the same place, however the coin falls."""
    chosen, teams = team_draft(list("abcdef"), list("abcdef"), 4, "x")
    assert teams == [NEITHER] * 4
    assert [place for _, place in chosen] == [0, 1, 2, 3]


def test_a_draft_by_hand():
    """The first items are the same; then each ranker brings its own, in the order of a coin."""
    seen = set()
    for seed in map(str, range(40)):
        chosen, teams = team_draft(["same", "a", "c"], ["same", "b", "c"], 3, seed)
        seen.add("".join((["same", "a", "c"], ["same", "b", "c"])[side][place][0] for side, place in chosen))
        assert teams[0] == NEITHER
        assert {teams[1], teams[2]} == {A, B}
    assert seen == {"sab", "sba"}


def test_clicks_are_credited_to_the_teams():
    assert credited([NEITHER, A, B, B], [True, True, True, True]) == (1, 2)
    assert credited([NEITHER, A, B], [True, False, False]) == (0, 0)


def test_the_preferred_ranker_is_told():
    """B has three of four clicks of everybody: a quarter beyond one half, and nobody doubts it."""
    a, b = np.full(200, 1.0), np.full(200, 3.0)
    a[:20], b[:20] = 3.0, 1.0
    told = preference(a, b)
    assert told.value == (3 * 180 + 20) / 800 - 0.5
    assert told.low > 0.15
    assert np.isnan(preference(np.zeros(5), np.zeros(5)).value)
