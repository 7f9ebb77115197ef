"""Which scope a call needs, what it presents, and how the OpenAPI page says so.

One rule for all routes, in the outermost layer: a new route is closed until it is opened here.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from recsys.apikeys import Scope

_OPEN = frozenset({"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
"""Probes, and pages that say what this program can do but nothing of what it holds."""
_READS_BY_POST = frozenset({"/v1/recommendations", "/v1/rank", "/v1/search"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def scope_of(method: str, path: str) -> Scope | None:
    """None: open to everyone."""
    if path.startswith("/v1/admin"):
        return "admin"
    if method in _SAFE:
        return None if path in _OPEN else "read"
    return "read" if method == "POST" and path in _READS_BY_POST else "write"


def presented_key(authorization: bytes, x_api_key: bytes) -> bytes | None:
    """The key of whichever header holds one; both are empty where the caller sent none."""
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return x_api_key or None


def document(app: FastAPI) -> None:
    """Adds the security schemes, and to each operation the scope that it needs."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        known = app.openapi_schema
        if known is None:
            known = plain()
            known.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path, operations in known["paths"].items():
                for method, operation in operations.items():
                    scope = scope_of(method.upper(), path)
                    operation["security"] = [{scheme: [scope]} for scheme in SCHEMES] if scope else []
                    if scope is None:
                        for status in ("401", "403"):
                            operation["responses"].pop(status, None)
        return known

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way
