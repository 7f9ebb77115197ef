"""Which scope a call needs, what it presents, and how the OpenAPI page says so.

One rule for all routes, in the outermost layer: a new route is closed until it is opened here.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

from fastapi import FastAPI

from deployments.api.console import is_console
from deployments.api.docs_page import ASSETS
from deployments.api.documented_problems import add_problems
from deployments.machine.preflight import is_loopback
from recsys.access.api_keys import Scope
from recsys.access.gate import Gate
from recsys.config.security import Security
from recsys.errors import Forbidden, WrongHost

_OPEN = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", *(f"/docs/{name}" for name in ASSETS)})
"""Probes, and pages that say what this program can do but nothing of what it holds."""
_READS_BY_POST = frozenset({"/v1/recommendations", "/v1/recommendations/batch", "/v1/pages", "/v1/rank", "/v1/search"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def scope_of(method: str, path: str) -> Scope | None:
    """None: open to everyone."""
    if path.startswith(("/v1/admin", "/v1/metrics")):
        return "admin"
    if method in _SAFE:
        return None if path in _OPEN or is_console(path) else "read"
    return "read" if method == "POST" and path in _READS_BY_POST else "write"


def presented_key(authorization: bytes, x_api_key: bytes) -> bytes | None:
    """The key of whichever header holds one; both are empty where the caller sent none."""
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return x_api_key or None


def check_host(host: bytes, security: Security) -> None:
    """For a call without a key whose Host header is not local. Raises WrongHost unless the operator allows that.

    A page in somebody's browser can have its own name point to 127.0.0.1 (DNS rebinding), and is of the same origin
    then. The browser still sends the page's name.
    """
    if not security.allow_no_keys:
        name = host[:80].decode("ascii", "replace")
        raise WrongHost(
            f"Host: {name!r} is no name of this machine. Without API keys calls are taken at 127.0.0.1, localhost and "
            "[::1] only: call it by one of them, ask for keys, or set security.allow_no_keys"
        )


def refuse_keyless(gate: Gate, security: Security) -> None:
    """Where no keys are asked for and the API may listen to a network, whoever calls is not an admin.

    Raises Forbidden.
    """
    if gate.open and security.allow_no_keys:
        raise Forbidden("no API keys are asked for: beyond this machine these calls are closed until they are", "admin")


@lru_cache(256)
def is_local(host: bytes) -> bool:
    """Whether a Host header names loopback, or is missing: browsers send one always."""
    text = host.decode("latin-1").lower()
    name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
    return not host or is_loopback(name.removesuffix("."))


def document(app: FastAPI, gate: Gate) -> None:
    """Adds to the OpenAPI page which errors there are and, where keys are asked for, how they are sent and which scope
    each operation needs.
    """
    plain = app.openapi
    pages: dict[bool, dict[str, Any]] = {}

    def openapi() -> dict[str, Any]:
        if gate.open not in pages:
            pages[gate.open] = _described(deepcopy(plain()), asks=not gate.open)
        return pages[gate.open]

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def _described(page: dict[str, Any], *, asks: bool) -> dict[str, Any]:
    add_problems(page)
    if asks:
        page.setdefault("components", {})["securitySchemes"] = SCHEMES
    for path, operations in page["paths"].items():
        for method, operation in operations.items():
            scope = scope_of(method.upper(), path) if asks else None
            if scope is None:
                for status in ("401", "403"):
                    operation["responses"].pop(status, None)
                continue
            operation["security"] = [{scheme: []} for scheme in SCHEMES]
            description = operation.get("description", "")
            operation["description"] = f"{description}\n\nThe key needs the scope `{scope}`.".strip()
    return page
