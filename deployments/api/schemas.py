"""Bodies of requests, as the OpenAPI page shows them. Items and events: see `recsys.data.records`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainValidator, Strict, WithJsonSchema

from recsys.data.bounds import Bounded
from recsys.data.canonical import canonical
from recsys.data.filters import FilterIn
from recsys.data.records import Id, UnixSeconds
from recsys.data.rules import REQUEST_RULES, RuleIn

K = Annotated[int, Field(ge=1, description="Items wanted; the limit is `limits.k` of the configuration.")]
Diversity = Annotated[
    float | None, Field(ge=0, le=1, allow_inf_nan=False, description="0 relevance to 1 spread; null: the scenario's.")
]
# In a body, where JSON has types of its own: 0 and "no" are no booleans, true and "1" are no numbers.
PageText = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=300,
        description="For a list in pages: `first`, then next_token of the page before. null: one answer, and no pages.",
    ),
]
StrictK = Annotated[K, Strict()]
StrictDiversity = Annotated[Diversity, Strict()]
Flag = Annotated[bool, Strict()]
Log = Annotated[
    Flag,
    Field(
        description="false: the answer is not logged, for questions of who looks into it and will show it to nobody."
    ),
]
Version = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=64,
        description="A version that the shards hold is to answer, whoever asks, and nothing is logged; see `versions` "
        "of GET /v1/platform. null: the user's.",
    ),
]
Variant = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=130,
        description="A variant of an experiment, as EXPERIMENT/VARIANT, is to answer, whoever asks, and nothing is "
        "logged; see `variants` of GET /v1/platform. null: the user's.",
    ),
]
WHY_NOT = 20
"""Items that one read may ask about."""


def _explain(value: object) -> object:
    if isinstance(value, bool) or value == "full":
        return value
    raise ValueError("must be true, false or `full`")


def _explain_text(value: object) -> object:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    text = str(value).lower()
    return _explain(words.get(text, text))


_EXPLAIN = WithJsonSchema(
    {
        "anyOf": [{"type": "boolean"}, {"const": "full"}],
        "description": "true: signals and contributions of each item. full: evidence as well, see docs/http-api.md.",
    }
)
Explain = Annotated[bool | Literal["full"], PlainValidator(_explain), _EXPLAIN]
ExplainText = Annotated[bool | Literal["full"], PlainValidator(_explain_text), _EXPLAIN]
Ids = list[Id]
BASKET = 50
"""Events that one read may carry."""
Rules = Annotated[list[RuleIn], Field(max_length=REQUEST_RULES)]
Context = Annotated[
    dict[str, Any], Field(max_length=64, description="What is known of the moment, by the names of `args.context`.")
]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank; give at least one word")
    return canonical(text)


QueryText = Annotated[str, Field(min_length=1), AfterValidator(_not_blank)]


class Body(Bounded):
    """A list in it is no longer than `limits.bulk`: see routes.py."""


class BasketEvent(Body):
    item_id: Id
    type: str = Field("view", max_length=64)
    """One of the configured event types."""
    value: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    timestamp: UnixSeconds | None = None
    """RFC 3339 or Unix seconds; null: now, in the order of the list."""


Basket = Annotated[list[BasketEvent], Field(max_length=BASKET)]


class SlateBody(Body):
    """What a call says of the slate of one user, or of each of several."""

    k: StrictK = 10
    scenario: str = Field("home", max_length=64)
    filter: FilterIn | None = None
    exclude: Ids = Field([])
    """Items to leave out."""
    include_seen: Flag = False
    """Whether items that the user has had to do with may come back."""
    diversity: StrictDiversity = None
    rules: Rules = Field([])
    """Beside those of the scenario."""
    context: Context = Field({})


class OneSlateBody(SlateBody):
    """What a call of one slate says beside."""

    explain: Explain = False
    """Whether each item carries the signals that its score is made of; `full`: and what the user did for it."""
    why_not: Annotated[list[Id], Field(max_length=WHY_NOT)] = Field([])
    """Items of which to say why they are not in the answer."""
    events: Basket = Field([])
    """What the user did just now. It counts for this answer alone and is not stored."""
    page: PageText = None
    log: Log = True
    version: Version = None
    variant: Variant = None


class RecommendBody(OneSlateBody):
    user_id: Id | None = None
    """null: nobody in particular, answered like a new user."""


class RecommendQuery(Body):
    """The parameters of GET /v1/users/{id}/recommendations."""

    k: K = 10
    scenario: str = Field("home", max_length=64)
    filter: str | None = None
    """A filter as JSON, as in POST /v1/recommendations."""
    diversity: Diversity = None
    include_seen: bool = False
    explain: ExplainText = False
    why_not: Id | None = None
    """An item of which to say why it is not in the answer."""
    context: str | None = None
    """What is known of the moment, as a JSON object by the names of `args.context`."""
    rules: str | None = None
    """Beside those of the scenario, as a JSON list."""
    events: str | None = None
    """What the user did just now, as a JSON list. It counts for this answer alone and is not stored."""
    page: PageText = None


class RankBody(Body):
    user_id: Id | None = None
    scenario: str = Field("rank", max_length=64)
    items: Ids = Field(min_length=1)
    """The items to put in order."""
    explain: Explain = False
    rules: Rules = Field([])
    context: Context = Field({})
    events: Basket = Field([])
    log: Log = True


class SearchBody(OneSlateBody):
    text: QueryText
    user_id: Id | None = None
    """null: not personalised."""
    scenario: str = Field("search", max_length=64)
    include_seen: Flag = True


class EventsBody(Body):
    events: list[Any]
    """Objects of event_id, user_id, item_id, type, and optionally value, timestamp, request_id."""
    profiles: Literal["now", "later"] = "now"
    """now: the users' profiles take the events in. later: each is made when its user comes next, which suits histories
    that are loaded in bulk. The next recommendation knows the events either way."""


class ItemsBody(Body):
    items: list[Any]
    """Objects of item_id, title, text, attributes, created_at, hidden, available_from, available_until, and optionally
    vector: the encoder's own of `title. text`, which is then not encoded."""
