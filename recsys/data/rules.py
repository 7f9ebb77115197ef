"""Rules: what an operator wants of some items, in a scenario or in one request.

| kind | does | its fields |
| --- | --- | --- |
| `boost` | adds `weight` to the score of each match | `weight` |
| `bury` | takes `weight` off it | `weight` |
| `fresh` | adds `weight` for an item of this moment, halved every `half_life_s` of its age | `weight`, `half_life_s` |
| `pin` | puts the best match at a place of the slate | `position` |
| `promote` | gives matches a share of the places | `share` |

A match is an item that the rule's filter matches. Each rule is checked once, and travels as a frozen struct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import structs
from pydantic import Field, ValidationError, model_validator

from recsys.config.platform import AttributeType
from recsys.data.bounds import Bounded
from recsys.data.filters import NOTHING_REFERABLE, FilterIn, Referable, compile_filter
from recsys.data.records import UnixSeconds
from recsys.data.wording import path, refusal
from recsys.datatypes import Rule, RuleKind
from recsys.errors import BadInput

REQUEST_RULES = 16
"""Rules of one request, at the most."""

_FIELDS: Mapping[RuleKind, tuple[str, ...]] = {
    "boost": ("weight",),
    "bury": ("weight",),
    "fresh": ("weight", "half_life_s"),
    "pin": ("position",),
    "promote": ("share",),
}
"""Fields of each kind; all but the weight must be given."""
_OWN = ("weight", "half_life_s", "position", "share")

Weight = Annotated[float, Field(strict=True, gt=0, le=100)]
Seconds = Annotated[float, Field(strict=True, ge=1, allow_inf_nan=False)]
Position = Annotated[int, Field(strict=True, ge=1, le=1000)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]


class RuleIn(Bounded):
    """A rule as it arrives."""

    name: str = Field(strict=True, pattern=r"^[a-z][a-z0-9_]{0,63}$")
    """In explanations it is the signal `rule:NAME`. A rule of a request replaces the scenario's of the same name."""
    kind: RuleKind
    filter: FilterIn | None = None
    """The items that it is about. Needed, but for `fresh`: null is all items there."""
    starts_at: UnixSeconds | None = None
    """From when on it holds, RFC 3339 or Unix seconds; null: it does already."""
    ends_at: UnixSeconds | None = None
    """When it ends; null: never."""
    weight: Weight | None = None
    """Of `boost`, `bury` and `fresh`, in units of a score; null: 1."""
    half_life_s: Seconds | None = None
    """Of `fresh`, in seconds after `created_at`; an item whose age is not known has nothing of it."""
    position: Position | None = None
    """Of `pin`, from 1; in a shorter slate it is the last place."""
    share: Share | None = None
    """Of `promote`: of the places of the slate."""

    @model_validator(mode="after")
    def _has_the_fields_of_its_kind(self) -> RuleIn:
        own = _FIELDS[self.kind]
        for field in _OWN:
            given = getattr(self, field) is not None
            if given and field not in own:
                raise ValueError(f"{field} means nothing to {self.kind}; its fields are {', '.join(own)}: leave it out")
            if not given and field in own and field != "weight":
                raise ValueError(f"{self.kind} needs {field}")
        if self.kind != "fresh" and self.filter is None:
            raise ValueError(f"{self.kind} needs a filter: the items that it is about")
        if self.starts_at is not None and self.ends_at is not None and self.starts_at >= self.ends_at:
            raise ValueError("starts_at must lie before ends_at")
        return self


def compile_rules(
    given: Sequence[RuleIn],
    declared: Mapping[str, AttributeType],
    at: str = "rules",
    referable: Referable = NOTHING_REFERABLE,
) -> tuple[Rule, ...]:
    """Return the rules, checked against the declared attributes. Raises BadInput naming the field.

    `at`: the place of the rules in the input. `referable`: what their filters may refer to.
    """
    names: set[str] = set()
    rules = []
    for n, rule in enumerate(given):
        where = f"{at}[{n}]"
        if rule.name in names:
            raise BadInput(
                f"{where}.name: {rule.name!r} is the name of a rule before it; give each its own", field=f"{where}.name"
            )
        names.add(rule.name)
        rules.append(_compile(rule, declared, where, referable))
    return tuple(rules)


def parse_rules(
    given: Sequence[Mapping[str, Any]],
    declared: Mapping[str, AttributeType],
    at: tuple[str | int, ...],
    referable: Referable = NOTHING_REFERABLE,
) -> tuple[Rule, ...]:
    """The rules of settings, where they stand as plain objects. Raises BadInput naming the field."""
    read = []
    for n, rule in enumerate(given):
        try:
            read.append(RuleIn.model_validate(rule))
        except ValidationError as error:
            raise refusal(error, RuleIn, inside=(*at, n)) from None
    return compile_rules(read, declared, path(at), referable)


def _compile(rule: RuleIn, declared: Mapping[str, AttributeType], at: str, referable: Referable) -> Rule:
    given = compile_filter(rule.filter, declared, f"{at}.filter", referable)
    if given is None and rule.filter is not None:
        raise BadInput(f"{at}.filter: is empty; name the items that the rule is about", field=f"{at}.filter")
    weight = 1.0 if rule.weight is None else rule.weight
    signs = {"boost": 1.0, "fresh": 1.0, "bury": -1.0}
    compiled = Rule(rule.name, rule.kind, given, weight=weight * signs.get(rule.kind, 0.0))
    fields = {
        field: value
        for field in ("starts_at", "ends_at", "half_life_s", "position", "share")
        if (value := getattr(rule, field)) is not None
    }
    return structs.replace(compiled, **fields)
