"""The console at /console: static files of the package, with nothing from elsewhere.

The page is a client of the public API like any other, so its files hold nothing of the platform and are open. Its paths
are relative, for a platform behind a prefix. What the content security policy allows is what lies here: no script,
style or image of another site, and none within the page.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

PATH = "/console"
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
"""File extension -> content type. Files of other extensions are not served."""
_POLICY = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}


def is_console(path: str) -> bool:
    """Whether a path leads to the console's files, which are open to everyone."""
    return path in {"/", PATH} or path.startswith(f"{PATH}/")


def router() -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    served = dict(_listed(files("deployments") / "console"))

    @routes.get("/")
    async def root(request: Request) -> Response:
        return RedirectResponse(request.scope.get("root_path", "") + PATH)

    @routes.get(PATH)
    def page() -> Response:  # in a thread, for it reads a file
        return _answer("index.html", served["index.html"])

    @routes.get(f"{PATH}/{{name:path}}")
    def asset(name: str) -> Response:
        if name not in served:
            raise HTTPException(404)
        return _answer(name, served[name])

    return routes


def _answer(name: str, file: Traversable) -> Response:
    return Response(file.read_bytes(), media_type=_TYPES[name.rpartition(".")[2]], headers=_POLICY)


def _listed(folder: Traversable, before: str = "") -> list[tuple[str, Traversable]]:
    """Every file that is served, by its path below the folder."""
    files: list[tuple[str, Traversable]] = []
    for entry in folder.iterdir():
        name = before + entry.name
        if entry.is_dir():
            files += _listed(entry, f"{name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            files.append((name, entry))
    return files
