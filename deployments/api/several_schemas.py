"""Bodies and answers of the calls for several slates."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from deployments.api.answer_schemas import AnswerBody, RecommendedItem
from deployments.api.schemas import (
    Basket,
    Body,
    Context,
    Flag,
    Ids,
    QueryText,
    Rules,
    SlateBody,
    StrictDiversity,
    StrictK,
)
from recsys.data.filters import FilterIn
from recsys.data.records import Id

USERS = 100
"""Users of one call."""
ROWS = 20
"""Rows of one page."""


class UsersBody(SlateBody):
    """What is said of one user's slate in POST /v1/recommendations, for all of these."""

    users: Annotated[list[Id], Field(min_length=1, max_length=USERS)]
    explain: Flag = False


class RowIn(Body):
    """One row of a page. Which of `text`, `item_id` and `items` it needs follows from the kind of its scenario."""

    name: str = Field("", max_length=64)
    """Of the caller's choice, and given back."""
    scenario: str = Field("home", max_length=64)
    k: StrictK | None = None
    """null: 10, or all of `items`."""
    text: QueryText | None = None
    """For a scenario of searches."""
    item_id: Id | None = None
    """For a scenario of similar items."""
    items: Ids | None = None
    """For a scenario that ranks."""
    filter: FilterIn | None = None
    exclude: Ids = Field([])
    include_seen: Flag | None = None
    """null: as the call of its kind has it."""
    diversity: StrictDiversity = None
    explain: Flag = False
    rules: Rules = Field([])


class PageBody(Body):
    rows: Annotated[list[RowIn], Field(min_length=1, max_length=ROWS)]
    """From the top of the page: earlier rows have the choice."""
    user_id: Id | None = None
    context: Context = Field({})
    events: Basket = Field([])


class ErrorOut(AnswerBody):
    """Why there is no slate: what the call for it alone would be told."""

    status: int
    code: str
    detail: str
    field: str | None = None


class AnswerOut(AnswerBody):
    """One slate, or `error`."""

    request_id: str
    """The call's own with a number: what events name this slate by."""
    user_id: str | None = None
    name: str | None = None
    scenario: str
    model_version: str | None = None
    index_version: str | None = None
    degraded: list[str] = Field([])
    items: list[RecommendedItem] = Field([])
    unknown_items: list[str] | None = None
    notes: list[str] | None = None
    error: ErrorOut | None = None


class UsersOut(AnswerBody):
    request_id: str
    took_ms: float
    answers: list[AnswerOut]
    """In the order of `users`."""


class PageOut(AnswerBody):
    request_id: str
    took_ms: float
    rows: list[AnswerOut]
    """In the order of `rows`."""
