"""FastAPI's routes, each made when a request comes to it: an API has some fifty, and a test asks a few of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import compile_path

_MAKING = "making"
"""Where a route that is not made yet keeps how it is."""


def make_routes_late(patch: pytest.MonkeyPatch) -> None:
    plain = APIRoute.__init__

    def begin(route: APIRoute, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        """What a router goes by when it looks for the route of a request."""
        route.path, route.endpoint = path, endpoint
        route.path_regex, route.path_format, route.param_convertors = compile_path(path)
        route.methods = {method.upper() for method in given.get("methods") or ("GET",)}
        route.__dict__[_MAKING] = lambda: plain(route, path, endpoint, **given)

    def rest(route: APIRoute, name: str) -> Any:
        """Everything else: asked for where there is no attribute of the name."""
        make = route.__dict__.pop(_MAKING, None)
        if make is None:
            raise AttributeError(f"a route has no {name}")
        make()
        return getattr(route, name)

    patch.setattr(APIRoute, "__init__", begin)
    patch.setattr(APIRoute, "__getattr__", rest, raising=False)
