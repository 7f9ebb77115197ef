"""From a query to what the shards are asked with: the user's profile, the vector of what is asked for, the facts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from recsys.config.serving import Serving
from recsys.datatypes import Floats, RecQuery, UserProfile
from recsys.errors import BadInput, NotFound, Outdated, Unavailable
from recsys.model.profiles import with_basket
from recsys.model.space import Space
from recsys.model.taste import Taste
from recsys.ranking.batch_query import Prepared
from recsys.ranking.served_version import Serve
from recsys.serving.profile_loading import Loaded, Profiles
from recsys.serving.request_facts import NO_FACTS, Facts, RequestFacts
from recsys.transport.clock import Clock


class Preparation:
    def __init__(self, profiles: Profiles, facts: RequestFacts, settings: Serving) -> None:
        self._profiles = profiles
        self._facts = facts
        self._settings = settings
        self._taste = Taste(settings.event_types, settings.taste_half_life)

    async def of(self, queries: Sequence[RecQuery], serve: Serve, clock: Clock) -> list[Prepared | Exception]:
        """Each query with its user's profile and its own vector, or the error that is its own."""
        users = dict.fromkeys(q.user_id for q in queries if q.user_id is not None)
        items = [q.like_item for q in queries if q.like_item is not None]
        items += [event.item_id for q in queries for event in q.basket]
        profiles = self._profiles.load(list(users), items, serve, clock.left())
        if self._facts_needed(queries, serve):
            loading = self._facts.load(queries, clock.left() / 2, everyone=_looks_at_users(serve))
            loaded, facts = await asyncio.gather(profiles, loading)
        else:  # nearly always
            loaded, facts = await profiles, NO_FACTS
        clock.lap("profiles")
        unknown = serve.space.unknown_user()
        return [self._prepared(query, serve, loaded, unknown, facts) for query in queries]

    def foreseen(self, query: RecQuery, serve: Serve) -> Prepared | None:
        """The query with the profile that its user had last time; None where more than that has to be loaded."""
        if query.user_id is None or query.like_item is not None or query.basket or self._facts_needed([query], serve):
            return None
        profile = self._profiles.remembered(query.user_id, serve)
        if profile is None:
            return None
        loaded = Loaded({query.user_id: profile}, {}, ())
        prepared = self._prepared(query, serve, loaded, serve.space.unknown_user(), NO_FACTS)
        return prepared if isinstance(prepared, Prepared) else None

    def _facts_needed(self, queries: Sequence[RecQuery], serve: Serve) -> bool:
        return _looks_at_users(serve) or self._facts.needed(queries)

    def _prepared(
        self, query: RecQuery, serve: Serve, loaded: Loaded, unknown: UserProfile, facts: Facts
    ) -> Prepared | Exception:
        scenario = self._settings.scenarios.get(query.scenario)
        if scenario is None:
            names = ", ".join(sorted(self._settings.scenarios))
            return BadInput(f"scenario: {query.scenario!r} is not one of {names}", field="scenario")
        if query.encoder is not None and query.encoder != serve.fingerprint:
            return Outdated("the version changed while the text was encoded; try again")
        vector = _vector(query, serve.space, loaded.vectors)
        lacking = tuple(part for part in loaded.missing if part != "profiles")
        if query.like_item is not None and vector is None:
            if any(part.startswith("shard") for part in lacking):
                return Unavailable("the shard that may hold the item does not answer; try again")
            return NotFound(f"item_id: there is no item {query.like_item!r}", field="item_id")
        profile = unknown if query.user_id is None else loaded.profiles.get(query.user_id)
        if profile is None or profile.stale:
            lacking = ("profiles", *lacking)
        profile = profile or unknown
        if query.basket:
            profile = with_basket(profile, query.basket, loaded.vectors, self._taste, serve.space)
        wishes = self._facts.wishes(query, profile, facts, rotates=scenario.rotation > 0)
        missing = (*lacking, *wishes.missing)
        return Prepared(
            query, scenario, profile, vector, missing, wishes.rules, wishes.filter, wishes.shown,
            facts.attributes.get(query.user_id, {}) if facts.attributes and query.user_id is not None else {},
            wishes.segment, wishes.unknown,
        )  # fmt: skip


def _looks_at_users(serve: Serve) -> bool:
    """Whether the version's trees look at attributes of users."""
    return serve.ranker is not None and serve.ranker.of_users


def _vector(query: RecQuery, space: Space, contexts: Mapping[str, Floats]) -> Floats | None:
    """(width,) what the query asks to be like: a text, or an item; None: neither, or the item is not known."""
    if query.like_item is None:
        return None if query.vector is None else space.text_query(query.vector)
    context = contexts.get(query.like_item)
    return None if context is None else space.context_query(context)
