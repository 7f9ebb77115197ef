"""The page at /docs, with nothing from elsewhere: it works without a network, and no other site hears of its readers.

Swagger UI comes out of `fastapi-offline`, of which only the files are taken: its own routes put a script into the page,
which the content security policy here does not allow.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response

ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon.png": "image/png",
    "start.js": "text/javascript",
}
"""Beside the page, under /docs/: file name -> content type."""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>recsys</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
"""Its paths are relative, for a platform behind a prefix."""
_START = """\
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  layout: "BaseLayout",
});
"""
_POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""What the page may load: what lies here. Swagger UI sets styles of its own and draws its icons from data: URLs."""


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    static = files("fastapi_offline") / "static"

    @routes.get("/docs")
    async def page() -> Response:
        return Response(_PAGE, media_type="text/html", headers=_POLICY)

    def serve(name: str, media_type: str) -> None:
        @routes.get(f"/docs/{name}")
        def asset() -> Response:  # in a thread, for it reads a file
            content = _START.encode() if name == "start.js" else (static / name).read_bytes()
            return Response(content, media_type=media_type)

    for name, media_type in ASSETS.items():
        serve(name, media_type)
    return routes
