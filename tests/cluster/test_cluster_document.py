"""The API's own description: every call, and no reference that leads nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.live import Live

pytestmark = pytest.mark.cluster


def test_every_call_of_the_api_is_documented(live: Live) -> None:
    document = live.json("GET", "/openapi.json")
    assert document["openapi"].startswith("3.")
    calls = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert calls == {
        ("GET", "/v1/users/{user_id}/recommendations"),
        ("POST", "/v1/recommendations"),
        ("POST", "/v1/recommendations/batch"),
        ("POST", "/v1/pages"),
        ("POST", "/v1/rank"),
        ("GET", "/v1/items/{item_id}/similar"),
        ("POST", "/v1/search"),
        ("POST", "/v1/events"),
        ("POST", "/v1/items"),
        ("PUT", "/v1/items/{item_id}"),
        ("GET", "/v1/items/{item_id}"),
        ("DELETE", "/v1/items/{item_id}"),
        ("GET", "/v1/users/{user_id}"),
        ("DELETE", "/v1/users/{user_id}"),
        ("PATCH", "/v1/items/{item_id}"),
        ("GET", "/v1/items"),
        ("PUT", "/v1/users/{user_id}"),
        ("PATCH", "/v1/users/{user_id}"),
        ("POST", "/v1/users/{user_id}/merge"),
        ("DELETE", "/v1/users/{user_id}/events/{event_id}"),
        ("GET", "/v1/metrics/outcomes"),
        ("GET", "/v1/metrics/items/{item_id}"),
        ("GET", "/v1/metrics/catalogue"),
        ("GET", "/v1/admin/scenarios"),
        ("PATCH", "/v1/admin/scenarios"),
        ("GET", "/v1/admin/scenarios/schema"),
        ("POST", "/v1/admin/scenarios/undo"),
        ("POST", "/v1/admin/scenarios/preview"),
        ("GET", "/v1/admin/experiments"),
        ("POST", "/v1/admin/experiments"),
        ("GET", "/v1/admin/experiments/{name}"),
        ("PATCH", "/v1/admin/experiments/{name}"),
        ("POST", "/v1/admin/experiments/{name}/stop"),
        ("GET", "/v1/admin/off-policy"),
        ("GET", "/v1/status"),
        ("GET", "/v1/admin/deployments"),
        ("GET", "/v1/admin/users"),
        ("GET", "/v1/admin/versions"),
        ("POST", "/v1/admin/promote"),
        ("POST", "/v1/admin/rollback"),
        ("GET", "/v1/live"),
        ("GET", "/v1/platform"),
        ("POST", "/v1/admin/scale"),
        ("POST", "/v1/admin/hold"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
    }


def test_every_reference_within_the_openapi_document_leads_somewhere(live: Live) -> None:
    document = live.json("GET", "/openapi.json")
    assert document["info"]["title"]

    def references(node: Any) -> list[str]:
        if isinstance(node, list):
            return [found for part in node for found in references(part)]
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for part in node.values() for found in references(part)]
        return []

    found = set(references(document))
    assert found
    assert {name.removeprefix("#/components/schemas/") for name in found} <= document["components"]["schemas"].keys()
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    assert all(o["responses"] and o["operationId"] for o in operations)
    assert live.http.get("/docs").status_code == 200
