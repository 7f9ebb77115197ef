"""Slates with fewer items than were asked for are filled by the scenario that theirs names for that."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from recsys.answers import Slate
from recsys.config.scenarios import Scenario
from recsys.datatypes import RecQuery
from recsys.ranking.slate_notes import FEWER

FILLED = "filled_by_fallback"
"""Items of the scenario's fallback stand at the end."""


def rest_of(query: RecQuery, slate: Slate | Exception, scenario: Scenario | None) -> RecQuery | None:
    """What to ask the fallback for; None: nothing."""
    if scenario is None or scenario.fallback is None or query.items is not None or not isinstance(slate, Slate):
        return None
    lacking = query.k - len(slate.items)
    if not lacking:
        return None
    shown = tuple(item.item_id for item in slate.items)
    return structs.replace(query, scenario=scenario.fallback, k=lacking, exclude=(*query.exclude, *shown))


def filled(slate: Slate, more: Slate | Exception) -> Slate:
    """The slate with the items of another behind its own."""
    if not isinstance(more, Slate) or not more.items:
        return slate
    start = len(slate.items)
    added = [structs.replace(item, rank=start + place) for place, item in enumerate(more.items, 1)]
    # The fallback's notes tell whether it had enough; why there were too few before it does not matter any more.
    notes = (FILLED, *(note for note in more.notes if note == FEWER))
    degraded = tuple(dict.fromkeys((*slate.degraded, *more.degraded)))
    return structs.replace(slate, items=(*slate.items, *added), notes=notes, degraded=degraded)


def fill(slates: Sequence[Slate | Exception], more: dict[int, Slate | Exception]) -> list[Slate | Exception]:
    """All slates of a batch; `more` has the fallbacks' answers by place."""
    return [
        filled(slate, more[n]) if n in more and isinstance(slate, Slate) else slate for n, slate in enumerate(slates)
    ]
