"""Bodies of answers, as the OpenAPI page shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from recsys.ranking.signals import SIGNALS


class AnswerBody(BaseModel):
    """What a call answers. Answers are written without it: what checks them is made for the OpenAPI page alone."""

    model_config = ConfigDict(defer_build=True)


class LikedItemOut(AnswerBody):
    item_id: str
    title: str
    adds: float
    """What the score of the item would lose without it; of an item that would not be there, all of its score."""
    rank_without: int | None
    """The place that the item would have then; null: it would not be there."""


class SharedValueOut(AnswerBody):
    attribute: str
    value: str
    items: list[str]
    """Of what the user has had to do with, those that have the value too."""


class EvidenceOut(AnswerBody):
    likes: list[LikedItemOut]
    """What adds most to the score."""
    shared: list[SharedValueOut]
    without: list[str] | None
    """The smallest set of items, of those that the user has had to do with, without which it would not be there; null:
    it would be there without any of them."""
    exact: bool
    """Whether there is no smaller set; false: none was found."""


class WhyNotOut(AnswerBody):
    item_id: str
    present: bool
    """Whether it is in the answer after all."""
    stage: str | None = None
    """What dropped it: docs/http-api.md lists the stages."""
    rule: str | None = None
    """Which condition, attribute or rule of it."""
    change: dict[str, Any] | None = None
    """The nearest change with which it would be there; it was tried."""


class RecommendedItem(AnswerBody):
    item_id: str
    title: str
    rank: int
    """From 1."""
    score: float
    source: str
    reasons: list[dict[str, str]]
    signals: dict[str, float] | None = Field(
        None,
        description="Where asked for: "
        + "; ".join(f"`{name}` {signal.says}" for name, signal in SIGNALS.items())
        + "; `rule:NAME` 1 for what a rule matches, or how fresh it is",
    )
    contributions: dict[str, float] | None = None
    """Where asked for: what each part adds to the score, which is their sum."""
    evidence: EvidenceOut | None = None
    """With `explain: full`; left out otherwise."""


class SearchPlanOut(AnswerBody):
    """How the neighbours of a query with a filter were looked for."""

    plans: list[Literal["post_filter", "exact", "allow_list"]]
    """`exact`: all matches were scored; `post_filter`: the graph was walked, and what does not match was dropped;
    `allow_list`: the walk kept what matches."""
    matches: int
    """Items that match the filter in the shards that answered."""


class SlateOut(AnswerBody):
    """An answer; `degraded` names the parts that are missing from it."""

    request_id: str
    scenario: str
    model_version: str
    index_version: str
    degraded: list[str]
    took_ms: float
    items: list[RecommendedItem]
    unknown_items: list[str] | None = None
    notes: list[str] | None = None
    """What bounds the answer, and why it is empty or short: see docs/http-api.md. Left out when there are none."""
    next_token: str | None = None
    """Of the next page, where pages were asked for and there is more; else left out."""
    search: SearchPlanOut | None = None
    """With `explain` and a filter; left out otherwise."""
    why_not: list[WhyNotOut] | None = None
    """With `why_not`; left out otherwise."""


class RefusedOut(AnswerBody):
    index: int
    field: str | None
    code: str
    message: str


class EventsOut(AnswerBody):
    accepted: int
    duplicates: int
    """Their event_id counted before."""
    too_old: int
    """Not taken: as old as what has left the user's history, or from before the user was erased."""
    unknown_items: list[str]
    refused: list[RefusedOut]
    """The first 100 of those that were not taken."""
    refused_count: int
    """How many were not taken."""
    refused_indexes: list[int]
    """Positions of all of them."""


class WrittenOut(AnswerBody):
    item_id: str
    shard: int
    sequence: str
    """Position in the shard's log."""
    visible: bool | None
    """With ?wait=visible: whether every replica of the shard has it; else null."""


class ItemsOut(AnswerBody):
    written: list[WrittenOut]
    refused: list[RefusedOut]
    """The first 100 of those that were not taken."""
    refused_count: int
    """How many were not taken."""
    refused_indexes: list[int]
    """Positions of all of them."""


class ItemOut(AnswerBody):
    item_id: str
    title: str
    text: str
    attributes: dict[str, bool | str | float | list[str]]
    created_at: float | None
    hidden: bool
    available_from: float | None
    available_until: float | None


class ListedOut(AnswerBody):
    items: list[ItemOut]
    next_cursor: str | None
    """null: this is the last page."""


class Problem(AnswerBody):
    """RFC 9457 problem details; `code` is stable."""

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None
    errors: list[dict[str, Any]] | None = None
    """The first 20 things that are wrong: field, code and message of each."""
    error_count: int | None = None
    """How many things are wrong."""
    refused: list[RefusedOut] | None = None
    """Of a bulk call of which nothing was taken, as in its answer; `refused_count` and `refused_indexes` too."""
    refused_count: int | None = None
    refused_indexes: list[int] | None = None
    request_id: str
