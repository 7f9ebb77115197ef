"""Who changes what everybody is answered by."""

from __future__ import annotations

from fastapi import Request

from recsys.access.gate import Gate
from recsys.errors import Forbidden
from recsys.serving.gateway import Gateway


class Authors:
    def __init__(self, gateway: Gateway, gate: Gate) -> None:
        self._gateway = gateway
        self._gate = gate

    def of(self, request: Request, given: str) -> str:
        """The name to keep. Raises Forbidden where anybody beyond this machine could be meant."""
        if self._gate.open and self._gateway.settings.security.allow_no_keys:
            what = "no API keys are asked for: beyond this machine these calls are closed until they are"
            raise Forbidden(what, "admin")
        return given or request.scope.get("recsys.key") or "nobody"
