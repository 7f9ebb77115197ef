"""The Sentinels that know which server is the primary."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio.sentinel import Sentinel


class Sentinels(Sentinel):
    """Who asks while an answer is awaited gets that one, too.

    redis-py moves the Sentinel that answers to the front of its list. Of several calls at once each would change places
    by the list that it began with, which puts one Sentinel there twice and loses another: after a failover a platform
    would know fewer of them, and nobody would close the connections to those that are lost.
    """

    _asked: asyncio.Future[Any] | None = None

    async def discover_master(self, service_name: str) -> Any:
        """(host, port). Raises redis MasterNotFoundError where no Sentinel names one. The name is always the same."""
        if self._asked is None or self._asked.done():
            self._asked = asyncio.ensure_future(super().discover_master(service_name))
        return await asyncio.shield(self._asked)
