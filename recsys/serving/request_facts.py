"""What a batch needs of its users beside their profiles: what they were shown, and what is known of them.

It is loaded beside the profiles, and only where a scenario or a filter of the batch asks for it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from msgspec import structs
from redis.exceptions import RedisError

from recsys.data.references import refers, resolved, unknown
from recsys.datatypes import AttributeValue, Filter, RecQuery, Rule, UserProfile
from recsys.ranking.rules import merged
from recsys.ranking.scenarios import Compiled
from recsys.ranking.segment_top import Top
from recsys.serving.rotation import Rotation
from recsys.serving.segments import SegmentPopularity
from recsys.state.shown_items import NOTHING, Shown

_NOTHING = Compiled()


@dataclass(frozen=True, slots=True)
class Facts:
    """By user id."""

    attributes: Mapping[str, Mapping[str, AttributeValue]] = field(default_factory=dict)
    shown: Mapping[str, Shown] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    """`user_attributes`, where Redis did not give them in time."""
    of_everyone: bool = False
    """Whether the attributes of all users are needed, and not only those that filters refer to."""


NO_FACTS = Facts()


class Wishes(msgspec.Struct, frozen=True):
    """What a query and its scenario ask for together, with the facts in it."""

    rules: tuple[Rule, ...]
    filter: Filter | None
    shown: Shown | None
    missing: tuple[str, ...]
    segment: Top | None
    unknown: tuple[str, ...]
    """What the filter compares items with and is not known, such as `user.country`."""


class KnownUsers(Protocol):
    """Where attributes of users come from."""

    async def load(self, user_ids: Sequence[str]) -> dict[str, dict[str, AttributeValue]]: ...


_NO_WISHES = Wishes((), None, None, (), None, ())


class RequestFacts:
    """`compiled`: rules and filters of scenarios. `rotation`: None where none rotates. `users`: None where no user can
    have attributes. `segments`: None where popularity is not counted by segment.
    """

    def __init__(
        self,
        compiled: Mapping[str, Compiled] | None = None,
        rotation: Rotation | None = None,
        users: KnownUsers | None = None,
        segments: SegmentPopularity | None = None,
    ) -> None:
        self._compiled = compiled or {}
        self._plain = {name: _plain(own) for name, own in self._compiled.items() if not _referring(own)}
        """What a query without wishes of its own asks for in scenarios that refer to nobody."""
        self.rotation = rotation
        self._users = users
        self.segments = segments

    def needed(self, queries: Sequence[RecQuery]) -> bool:
        """Whether there is anything to load; nearly never."""
        if self.rotation is not None or self.segments is not None:
            return True
        return self._users is not None and any(map(self._refers, queries))

    async def load(self, queries: Sequence[RecQuery], budget_s: float, *, everyone: bool = False) -> Facts:
        """`everyone`: whether something else than filters needs attributes."""
        wanted, has_users = everyone or self.segments is not None, self._users is not None
        knowing = [q for q in queries if has_users and q.user_id is not None and (wanted or self._refers(q))]
        attributes, shown = await asyncio.gather(self._attributes(knowing, budget_s), self._shown(queries, budget_s))
        lacking = attributes is None
        return Facts(attributes or {}, shown, ("user_attributes",) if lacking else (), wanted)

    def wishes(self, query: RecQuery, profile: UserProfile, facts: Facts, *, rotates: bool) -> Wishes:
        """`rotates`: whether the query's scenario does."""
        own = self._compiled.get(query.scenario, _NOTHING)
        rules, given = query.rules, query.filter
        if facts is NO_FACTS and given is None and not rules:  # nearly always
            plain = _NO_WISHES if own is _NOTHING else None if rotates else self._plain.get(query.scenario)
            if plain is not None:
                return plain
        if own is not _NOTHING:
            rules, given = merged(own.rules, rules), given if own.filter is None else own.filter.with_(given)
        missing = facts.missing if facts.of_everyone and query.user_id is not None else ()
        lacking: tuple[str, ...] = ()
        if refers(given) or any(refers(rule.filter) for rule in rules):
            user = {} if query.user_id is None else facts.attributes.get(query.user_id, {})
            values = {"user": user, "context": query.context}
            lacking = () if given is None else unknown(given, values)
            given = None if given is None else resolved(given, values)
            rules = tuple(_with(rule, values) for rule in rules)
            missing = facts.missing
        shown = None
        if rotates and query.user_id is not None and query.items is None:
            shown = facts.shown.get(query.user_id, NOTHING)
        segment = None
        if self.segments is not None and query.user_id is not None:
            segment = self.segments.top(query, profile, facts.attributes.get(query.user_id, {}))
            rules = rules if segment is None else (*rules, segment.rule)
        return Wishes(rules, given, shown, missing, segment, lacking)

    def _refers(self, query: RecQuery) -> bool:
        """To attributes of its user."""
        own = self._compiled.get(query.scenario, _NOTHING)
        rules = (*own.rules, *query.rules)
        return (
            refers(query.filter, "user") or refers(own.filter, "user") or any(refers(r.filter, "user") for r in rules)
        )

    async def _attributes(
        self, queries: Sequence[RecQuery], budget_s: float
    ) -> dict[str, dict[str, AttributeValue]] | None:
        """None: they did not come in time."""
        if not queries or self._users is None:
            return {}
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(budget_s):
                return await self._users.load(sorted({q.user_id for q in queries if q.user_id is not None}))
        return None

    async def _shown(self, queries: Sequence[RecQuery], budget_s: float) -> dict[str, Shown]:
        return {} if self.rotation is None else await self.rotation.load(queries, budget_s)


def _plain(own: Compiled) -> Wishes:
    return Wishes(own.rules, own.filter, None, (), None, ())


def _referring(own: Compiled) -> bool:
    return refers(own.filter) or any(refers(rule.filter) for rule in own.rules)


def _with(rule: Rule, values: Mapping[str, Mapping[str, AttributeValue]]) -> Rule:
    return rule if rule.filter is None else structs.replace(rule, filter=resolved(rule.filter, values))
