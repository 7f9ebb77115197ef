"""GET /v1/users/{user_id}/recommendations, the hottest call, from its path and query string to a query."""

from __future__ import annotations

from deployments.api.parameters import basket_in, check_k, context_in, filter_of, rules_in, scenario_for
from deployments.api.parsing import id_adapter, parameters, path_id
from deployments.api.schemas import RecommendQuery
from recsys.datatypes import RecQuery
from recsys.serving.gateway import Gateway


class UserQueries:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._ids, self._read = id_adapter(), parameters(RecommendQuery)

    def of(self, user: str, query_string: bytes, since: float, request_id: str) -> tuple[RecQuery, RecommendQuery]:
        """Return the query, and all that its query string says. Raises BadInput.

        `user`: still percent-encoded. `since`: when the caller began to wait, by time.monotonic().
        """
        platform, settings = self._gateway.platform, self._gateway.settings
        wishes = self._read(query_string)
        query = RecQuery(
            k=check_k(wishes.k, settings.limits),
            scenario=scenario_for(settings, wishes.scenario, "home"),
            user_id=path_id(user, "user_id", self._ids),
            filter=filter_of(wishes.filter, platform),
            context=context_in(wishes.context, platform),
            include_seen=wishes.include_seen,
            diversity=wishes.diversity,
            explain=wishes.explain,
            rules=rules_in(wishes.rules, platform),
            basket=basket_in(wishes.events, settings),
            since=since,
            request_id=request_id,
        )
        return query, wishes
