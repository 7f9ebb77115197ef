"""Answers: slates, what stands in them, and why. Frozen and picklable."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class LikedItem(msgspec.Struct, frozen=True):
    """Something that the user has had to do with."""

    item_id: str
    title: str
    adds: float
    """What the score of the item would lose without it, as far as that is known."""
    rank_without: int | None
    """The place that the item would have then; None: it would not be there."""


class SharedValue(msgspec.Struct, frozen=True):
    """A value of an attribute that an item has in common with items that the user liked."""

    attribute: str
    value: str
    items: tuple[str, ...]
    """The liked ones that have it, newest first."""


class Evidence(msgspec.Struct, frozen=True):
    """Why an item is in an answer, by what the user did."""

    likes: tuple[LikedItem, ...]
    """What keeps it in its place first, then what adds most; nothing that does neither."""
    shared: tuple[SharedValue, ...]
    without: tuple[str, ...] | None
    """The smallest set of items, of those that the user has had to do with, without whose events it would not be there.
    None: it would be there without any of them."""
    exact: bool
    """Whether no smaller set exists; False: none was found."""


class Recommendation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    item_id: str
    title: str
    rank: int
    """From 1."""
    score: float
    source: str
    """The first source that proposed the item."""
    reasons: tuple[dict[str, str], ...]
    signals: dict[str, float] | None = None
    """What the score is made of; None unless asked for."""
    contributions: dict[str, float] | None = None
    """What each part adds to the score, which is their sum: signals with a weight, `trees`, and rules as
    `rule:NAME`. None unless asked for."""
    evidence: Evidence | None = None
    """None unless everything was asked for."""


class Batch(msgspec.Struct, frozen=True):
    """The batch that a query was answered in."""

    began: float
    """Unix seconds."""
    requests: int
    calls: Mapping[str, tuple[float, float]]
    """Shard -> milliseconds after `began` at which it was called and had answered; infinity: it has not."""


class SearchPlan(msgspec.Struct, frozen=True):
    """How the neighbours of a query with a filter were looked for, in the shards that answered."""

    plans: tuple[str, ...]
    """Names of `shard/plans.py`."""
    matches: int
    """Live items that match the filter, counted and not estimated."""


class Slate(msgspec.Struct, frozen=True):
    """The answer to one query, best first."""

    items: tuple[Recommendation, ...]
    index_version: str
    model_version: str
    degraded: tuple[str, ...] = ()
    """Parts that did not answer in time, such as `shard-1` or `profiles`; empty: the answer is complete."""
    unknown_items: tuple[str, ...] = ()
    """Item ids of the query that no shard holds."""
    notes: tuple[str, ...] = ()
    """What bounds the answer, and why it is empty or short: see `ranking/slate_notes.py`."""
    stages: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Milliseconds that each stage of the batch took."""
    batch: Batch | None = None
    """None: it was not answered in a batch."""
    search: SearchPlan | None = None
    """Of a query that asks for explanations. None: it does not, or no neighbours were looked for under a filter."""
    variant: str = ""
    """Of the experiment that the answer is part of; empty: of none."""
    propensities: tuple[float, ...] | None = None
    """The probability with which each item came to its place; None: 1, for no chance was in it. NaN: not known."""
    teams: tuple[int, ...] | None = None
    """Which ranker each item of an interleaved slate is of, see `statistics/interleaving.py`; None: it is not."""
    next_page: str | None = None
    """The token of the next page; None: there is none, or pages were not asked for."""
