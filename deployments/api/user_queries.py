"""GET /v1/users/{user_id}/recommendations, the hottest call, from its path and query string to a query."""

from __future__ import annotations

from msgspec import structs

from deployments.api.parameters import basket_in, check_k, context_in, filter_of, rules_in, scenario_for
from deployments.api.parsing import id_adapter, parameters, path_id
from deployments.api.schemas import RecommendQuery
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.serving.gateway import Gateway

_KEPT_QUERIES = 1024
_LONGEST_KEPT = 256
"""Bytes of a query string; with the number above, what they may take of memory."""


class UserQueries:
    """A query string that was read before is not read again, as long as the settings are the same."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ids, self._read = id_adapter(), parameters(RecommendQuery)
        self._settings: Serving | None = None
        self._kept: dict[bytes, tuple[RecQuery, RecommendQuery]] = {}
        """By query string."""

    def of(self, user: str, query_string: bytes, since: float, request_id: str) -> tuple[RecQuery, RecommendQuery]:
        """Return the query, and all that its query string says. Raises BadInput.

        `user`: still percent-encoded. `since`: when the caller began to wait, by time.monotonic().
        """
        settings = self._gateway.settings
        if settings is not self._settings or len(self._kept) > _KEPT_QUERIES:
            self._settings = settings
            self._kept.clear()
        kept = self._kept.get(query_string)
        if kept is None:
            kept = self._asked(query_string, settings)
            if len(query_string) <= _LONGEST_KEPT and kept[1].events is None:  # events without a time have that of now
                self._kept[query_string] = kept
        query, wishes = kept
        user_id = path_id(user, "user_id", self._ids)
        return structs.replace(query, user_id=user_id, since=since, request_id=request_id), wishes

    def _asked(self, query_string: bytes, settings: Serving) -> tuple[RecQuery, RecommendQuery]:
        """The query for no user yet."""
        platform, wishes = self._gateway.platform, self._read(query_string)
        query = RecQuery(
            k=check_k(wishes.k, settings.limits),
            scenario=scenario_for(settings, wishes.scenario, "home"),
            filter=filter_of(wishes.filter, platform),
            context=context_in(wishes.context, platform),
            include_seen=wishes.include_seen,
            diversity=wishes.diversity,
            explain=wishes.explain,
            rules=rules_in(wishes.rules, platform),
            basket=basket_in(wishes.events, settings),
        )
        return query, wishes
