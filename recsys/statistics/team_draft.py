"""Team-draft interleaving: one slate of two rankers, each item on the team of the ranker that brought it.

Radlinski, Kurup and Joachims, "How Does Clickthrough Data Reflect Retrieval Quality?", CIKM 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

A, B, NEITHER = 0, 1, 2
"""Teams of an item. NEITHER: both rankers have it at the same place, so a click on it says nothing."""


def team_draft(a: Sequence[str], b: Sequence[str], k: int, seed: str) -> tuple[list[tuple[int, int]], list[int]]:
    """Merge two lists of ids, each without repetitions, to at most k items.

    Return (ranker, place in its list) of each, and its team. In every round the rankers add their best item that is not
    there yet, in an order that a coin decides. `seed`: the same gives the same. What both have in the same places at
    the top is not drafted: both get it there whatever the coin says, and its team is NEITHER.
    """
    coin = Random(seed)  # noqa: S311 - a coin for an experiment
    common = 0
    while common < min(len(a), len(b), k) and a[common] == b[common]:
        common += 1
    chosen = [(A, place) for place in range(common)]
    teams = [NEITHER] * common
    taken = set(a[:common])
    lists, places = (a, b), [common, common]
    while len(chosen) < k:
        before = len(chosen)
        first = A if coin.random() < 0.5 else B
        for ranker in (first, 1 - first):
            items = lists[ranker]
            while places[ranker] < len(items) and items[places[ranker]] in taken:
                places[ranker] += 1
            if places[ranker] < len(items) and len(chosen) < k:
                taken.add(items[places[ranker]])
                chosen.append((ranker, places[ranker]))
                teams.append(ranker)
        if len(chosen) == before:
            break
    return chosen, teams
