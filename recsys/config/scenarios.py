"""What events say, and what slates are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from recsys.config.base import Name, Settings
from recsys.config.experiments import Experiment

Weight = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class EventType(Settings):
    """What an event of this type says of the user."""

    weight: Weight = 1.0
    """Pull of a liked item on the user's vector and on popularity. 0 or less: the item counts as seen, and the user's
    likes of it before are taken back."""
    liked_from: float | None = None
    """The smallest `value` that counts as liked; None: any event of the type is a like."""
    kept: bool = True
    """Whether the event becomes part of the user's history. False: it only says what came of an answer. It moves no
    taste and no popularity, teaches nothing, and its item does not count as seen; `weight` says nothing then."""
    counts_as: Literal["impression", "click", "conversion"] | None = None
    """What an event of the type is to the answer that it names; None: nothing that a report counts."""


class Segments(Settings):
    """Popularity among users who are alike in one attribute, for those of whom no like is known."""

    attribute: Name | None = None
    """Of users, declared under `args.user_attributes` as keyword or boolean; None: nothing is counted by segment."""
    most: int = Field(64, ge=1, le=1000)
    """Values that are counted: the first that come. Users with others have no segment."""
    items: int = Field(500, ge=50, le=10_000)
    """Items counted in each segment, give or take a tenth; the least liked go."""
    weight: float = Field(0.5, ge=0, le=100, allow_inf_nan=False)
    """What the most liked item of the segment adds to its score, others less, by the log of their likes."""


Kind = Literal["home", "similar", "search", "rank"]
"""A call: recommendations, neighbours of an item, neighbours of a text, given items in order."""


class Source(Settings):
    """Where candidates come from, and how many a shard gives."""

    source: Name
    """One of the table in recsys/shard/sources.py."""
    k: int = Field(50, ge=1, le=1000)
    """Candidates a shard returns for it."""


class Scenario(Settings):
    """One kind of slate: its sources, its blend, its spread."""

    kind: Kind | None = None
    """The call that it is for; None: the one of its own name, else `home`."""
    sources: tuple[Source, ...] | None = None
    """None: all that recsys/shard/sources.py has, each with its own `k`."""
    weights: dict[Name, Weight] | None = None
    """Score = sum of weight x signal; each signal lies within -1 to 1. None: the weights that the table of signals in
    recsys/ranking/signals.py gives."""
    learned: bool = False
    """Order by what the version learned, its own weights or trees; `weights` is for versions that learned nothing."""
    diversity: float = Field(0.0, ge=0.0, le=1.0)
    """MMR's trade-off (Carbonell and Goldstein 1998): 0 is relevance alone, 1 is spread alone."""
    caps: dict[Name, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Keyword attribute -> the most items of one value in a slate (of a list, the first value counts). Where too few
    others are left it gives way: a slate is never shorter for it."""
    explore: float = Field(0.0, ge=0.0, le=1.0)
    """Share of the places for new items, those with fewer than five likes; needs the source `new`. They stand at equal
    distances, each the best of them for the user."""
    rules: tuple[dict[str, Any], ...] = Field((), max_length=32)
    """What is boosted, buried, kept fresh, pinned or promoted, and when; recsys/data/rules.py has their fields."""
    filter: dict[str, Any] | None = None
    """Items that do not match it are in none of its slates; a filter of a request holds beside it."""
    min_relevance: float | None = Field(None, ge=-1.0, le=1.0)
    """The least inner product of an item with what was asked for, else with the user's taste; None: any. It leaves out
    nothing where neither is known, and nothing of items that were given to rank."""
    shun_above: float | None = Field(0.9, ge=-1.0, le=1.0)
    """Items whose text has a larger cosine to that of one of the three items disliked last come after all others; None:
    none do."""
    rotation: float = Field(0.0, ge=0.0, le=100.0)
    """What is taken off the score of an item that was shown again and again and ignored; half of it after one time."""
    rotation_half_life_s: float = Field(86_400.0, ge=60)
    """Seconds after which a time that an item was shown counts half."""
    fallback: Name | None = None
    """The scenario that fills the slate where this one has fewer items than are asked for."""
    recall_floor: float | None = Field(None, gt=0, le=0.999)
    """The recall@10 that the shards hold for searches of this scenario, where `recall` of the shards holds one; None:
    `recall.floor` of the shards. A shard has one `ef_search` for all of its searches, so the highest floor decides."""

    temperature: float = Field(0.0, ge=0.0, le=100.0)
    """Items of a slate change places at random, in the proportions of exp(score / temperature), and the log has with
    which probability each came to its place: other orders can be judged by that. 0: the best comes first."""
    experiment: Experiment | None = None
    """Other settings for a part of the users; None: all have these."""

    def call(self, name: str) -> Kind:
        """The call that a scenario of this name is for."""
        return self.kind or _CALLS.get(name, "home")


_CALLS: dict[str, Kind] = {"home": "home", "similar": "similar", "search": "search", "rank": "rank"}


def default_event_types() -> dict[str, EventType]:
    return {
        "view": EventType(weight=0.2),
        "click": EventType(weight=0.5, counts_as="click"),
        "like": EventType(weight=1.0),
        "purchase": EventType(weight=1.5, counts_as="conversion"),
        "rating": EventType(weight=1.0, liked_from=4.0),
        "dislike": EventType(weight=-0.5),
        "impression": EventType(weight=0.0, kept=False, counts_as="impression"),
    }


def default_scenarios() -> dict[str, Scenario]:
    return {
        "home": Scenario(learned=True, diversity=0.1),
        "similar": Scenario(sources=(Source(source="similar", k=50),), weights={"query": 1.0}),
        "search": Scenario(
            sources=(Source(source="similar", k=50),), weights={"query": 1.0, "taste": 0.1, "popularity": 0.05}
        ),
        "rank": Scenario(sources=(), learned=True),
    }
