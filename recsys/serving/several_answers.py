"""Several slates for one call: one for each of many users, or the rows of one page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

from msgspec import structs

from recsys.answers import Recommendation, Slate
from recsys.datatypes import RecQuery
from recsys.errors import CallerGone, RecsysError
from recsys.ranking.slate_notes import FEWER
from recsys.transport.coalescing import Caller

AT_ONCE = 16
"""Queries of one call that are submitted together, a quarter of a batch: the requests of others that come meanwhile
wait behind so many at the most."""
EARLIER = "in_earlier_rows"
"""Items of the row stand in rows before it, and too few others are left."""


class Question(NamedTuple):
    """What one slate is to be made of."""

    query: RecQuery
    text: str | None = None
    """What is searched for; None: nothing is."""


Ask = Callable[[Question, Caller], Awaitable[Slate]]
Answer = Slate | RecsysError


class _Turn(Caller):
    """The caller of a part of a call: it begins to wait when the part's turn comes, and goes when the caller goes."""

    __slots__ = ("_whole",)

    def __init__(self, whole: Caller) -> None:
        super().__init__()
        self._whole = whole

    @property
    def gone(self) -> bool:
        return self._whole.gone


async def answered(questions: Sequence[Question], ask: Ask, caller: Caller) -> list[Answer]:
    """Return the slate of each question, or its own error. The budget of each begins with its turn.

    Raises CallerGone, and the first error where there is no slate at all.
    """
    answers: list[Answer] = []
    for start in range(0, len(questions), AT_ONCE):
        turn = _Turn(caller) if start else caller
        part = [
            ask(Question(structs.replace(query, since=turn.since), text), turn)
            for query, text in questions[start : start + AT_ONCE]
        ]
        for answer in await asyncio.gather(*part, return_exceptions=True):
            if isinstance(answer, CallerGone) or not isinstance(answer, Answer):
                raise answer
            answers.append(answer)
    errors = [answer for answer in answers if isinstance(answer, RecsysError)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers


async def rows(questions: Sequence[Question], ask: Ask, caller: Caller) -> list[Answer]:
    """Return the slates of a page's rows, of which no two have an item in common. Earlier rows have the choice.

    All are ranked at the same time, each so deep that it is full when all items of the rows before it are taken out.
    Raises as `answered`.
    """
    above = accumulate((query.k for query, _ in questions[:-1]), initial=0)
    deeper = [
        Question(structs.replace(query, k=query.k + (more if query.items is None else 0), noted=False), text)
        for (query, text), more in zip(questions, above, strict=True)
    ]
    answers = await answered(deeper, ask, caller)
    shown: set[str] = set()
    distinct: list[Answer] = []
    for (query, _), answer in zip(questions, answers, strict=True):
        if isinstance(answer, Slate):
            items = tuple(item for item in answer.items if item.item_id not in shown)
            repeats, items = len(items) < len(answer.items), items[: query.k]
            shown.update(item.item_id for item in items)
            distinct.append(_cut(query, answer, items, repeats=repeats))
        else:
            distinct.append(answer)
    return distinct


def _cut(query: RecQuery, answer: Slate, items: Sequence[Recommendation], *, repeats: bool) -> Slate:
    """`answer` with these of its items alone. `repeats`: whether others stand in earlier rows."""
    short = len(items) < query.k
    fewer = (FEWER,) if short and items and query.items is None else ()
    earlier = (EARLIER,) if short and repeats else ()
    return structs.replace(
        answer,
        items=tuple(structs.replace(item, rank=n) for n, item in enumerate(items, start=1)),
        notes=(*(note for note in answer.notes if note != FEWER), *fewer, *earlier),
    )
