"""Places that rules give: items pinned to a position, and items promoted to a share of the slate."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Placement(msgspec.Struct, frozen=True):
    """What a rule of kind `pin` or `promote` does to a slate."""

    rows: Ints
    """Its matches among the candidates of the batch, in ascending order."""
    position: int = 0
    """From 1; 0: it promotes."""
    share: float = 0.0


class Placing(msgspec.Struct, frozen=True):
    """What a set of rules does to the slates of the requests that share it."""

    requests: Sequence[int]
    rules: Sequence[Placement]
    """In their order, with the matches of all requests."""


def only_pin(placings: Sequence[Placing]) -> Placement | None:
    """The pin that is all that rules do to the slates of a batch; None: they do more, or something else."""
    if len(placings) == 1 and len(placings[0].rules) == 1 and placings[0].rules[0].position:
        return placings[0].rules[0]
    return None


def place(
    slates: list[Ints], ranked: Sequence[Ints], offsets: Ints, placing: Placing, going_on: Collection[int] = ()
) -> None:
    """Make each slate of the requests what `placed` makes of it. `offsets`: see `CandidateSet`. `going_on`: requests
    whose slates go on with a list, for whose beginning pins were.
    """
    requests, rules = [b for b in placing.requests if len(ranked[b])], placing.rules
    if len(rules) == 1 and rules[0].position and not going_on:  # nearly always
        sizes = {len(slates[b]) for b in requests}
        if len(sizes) == 1 and sizes != {0}:
            _pin(slates, ranked, offsets, requests, rules[0])
            return
    bounds = [rule.rows.searchsorted(offsets).tolist() for rule in rules]
    for b in requests:
        mine = [
            Placement(rule.rows[own[b] : own[b + 1]], rule.position, rule.share)
            for rule, own in zip(rules, bounds, strict=True)
            if not (rule.position and b in going_on)
        ]
        slates[b] = placed(slates[b], ranked[b], mine)


def _pin(slates: list[Ints], ranked: Sequence[Ints], offsets: Ints, requests: Sequence[int], pin: Placement) -> None:
    """`place` of a single pin, in slates that are equally long: all of them at once."""
    bounds = pin.rows.searchsorted(offsets)
    order = np.concatenate(ranked)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    having = (bounds[1:] > bounds[:-1]).nonzero()[0]
    best = np.full(len(slates), -1)
    if len(having):
        best[having] = order[np.minimum.reduceat(rank[pin.rows], bounds[having])]
    own = [b for b in requests if best[b] >= 0]
    if not own:
        return
    table, pinned = np.stack([slates[b] for b in own]), best[own][:, None]
    rows, size = table.shape
    same = table == pinned
    same[:, -1] |= ~same.any(axis=1)  # where it is not there, the last one leaves for it
    rest, at = table[~same].reshape(rows, size - 1), min(pin.position, size) - 1
    for b, slate in zip(own, np.concatenate([rest[:, :at], pinned, rest[:, at:]], axis=1), strict=True):
        slates[b] = slate


def placed(slate: Ints, ranked: Ints, placements: Sequence[Placement]) -> Ints:
    """The slate with what rules pin and promote, as long as before: (k,) int64 positions of candidates. `ranked`: (n,)
    those of all its candidates, best first.

    A pin takes the best match that no pin before it has; where its place is taken, the next free one. A promotion that
    has fewer matches in the slate than its share brings in the best of the others, at equal distances. The items that
    leave for them are the last that neither match it nor count for a promotion before it. The others stay in order.
    """
    pinned = _pinned(len(slate), ranked, [p for p in placements if p.position])
    taken, chosen = np.fromiter(pinned.values(), np.int64, len(pinned)), {*pinned.values()}
    rest = np.array([row for row in slate.tolist() if row not in chosen][: len(slate) - len(taken)], np.int64)
    kept = np.zeros(0, np.int64)
    for promotion in placements:
        if promotion.position:
            continue
        others = ranked[~np.isin(ranked, np.concatenate([taken, rest]))]
        wanted = int(promotion.share * len(slate) + 0.5) - int(np.isin(taken, promotion.rows).sum())
        rest = _promoted(rest, others, kept, promotion.rows, wanted)
        kept = np.concatenate([kept, rest[np.isin(rest, promotion.rows)][: max(wanted, 0)]])
    left = iter(rest.tolist())
    return np.array([pinned[n] if n in pinned else next(left) for n in range(len(slate))], np.int64)


def _pinned(size: int, ranked: Ints, pins: Sequence[Placement]) -> dict[int, int]:
    """Place from 0 -> the candidate that is pinned to it."""
    pinned: dict[int, int] = {}
    for pin in pins:
        if len(pinned) == size or not len(pin.rows):
            continue
        matches = ranked[pin.rows.take(pin.rows.searchsorted(ranked), mode="clip") == ranked]
        taken = {*pinned.values()}
        best = next((row for row in matches[: len(taken) + 1].tolist() if row not in taken), None)
        if best is not None:
            free = [place for place in range(size) if place not in pinned]
            pinned[next((place for place in free if place >= pin.position - 1), free[-1])] = best
    return pinned


def _promoted(slate: Ints, others: Ints, kept: Ints, matches: Ints, wanted: int) -> Ints:
    """The slate with at least `wanted` matches, if there are so many and enough items may leave for them."""
    mine = np.isin(slate, matches)
    entering = others[np.isin(others, matches)][: max(wanted - int(mine.sum()), 0)]
    may_leave = np.flatnonzero(~mine & ~np.isin(slate, kept))
    entering = entering[: len(may_leave)]
    if not len(entering):
        return slate
    stays = np.ones(len(slate), bool)
    stays[may_leave[len(may_leave) - len(entering) :]] = False
    mixed = np.empty_like(slate)
    places = np.zeros(len(slate), bool)
    places[np.arange(1, len(entering) + 1) * len(slate) // len(entering) - 1] = True
    mixed[places], mixed[~places] = entering, slate[stays]
    return mixed
