"""Who changes what everybody is answered by."""

from __future__ import annotations

from fastapi import Request

from recsys.access.gate import Gate
from recsys.config.security import Security
from recsys.errors import Forbidden


def author_of(request: Request, given: str, gate: Gate, security: Security) -> str:
    """The name to keep. Raises Forbidden where anybody beyond this machine could be meant."""
    if gate.open and security.allow_no_keys:
        raise Forbidden("no API keys are asked for: beyond this machine these calls are closed until they are", "admin")
    return given or request.scope.get("recsys.key") or "nobody"
