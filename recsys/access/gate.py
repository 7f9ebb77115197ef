"""The gate of every call: checks the API key, its scope, and its rate limit.

The key file is read again after a change, within seconds and without a restart.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from recsys.access.api_keys import ApiKey, KeyRing, Scope, parse_keys, read_keys
from recsys.access.token_bucket import TokenBucket
from recsys.config.environment import KEYS_VARIABLE
from recsys.config.security import Security
from recsys.errors import BadInput, Forbidden, RateLimited, Unauthenticated
from recsys.serving.background import Background
from recsys.telemetry import SILENT, Telemetry

log = logging.getLogger(__name__)


def load_keys(security: Security) -> KeyRing | None:
    """Return the configured keys. None: neither a file nor $RECSYS_API_KEYS is set, and calls need no key.

    Raises BadInput for invalid keys.
    """
    path = security.keys_path()
    if path is not None:
        return read_keys(path)
    text = security.keys_text()
    return parse_keys(text, f"${KEYS_VARIABLE}") if text else None


class Gate:
    """`composers` returns the number of composers that share a key's rate. Each grants an equal part of it."""

    def __init__(self, composers: Callable[[], int] = lambda: 1, telemetry: Telemetry = SILENT) -> None:
        self._composers = composers
        self._security = Security()
        self._ring: KeyRing | None = None
        self._buckets: dict[str, TokenBucket] = {}
        self._seen: tuple[int, ...] = ()
        self._fault = ""
        """The last fault of the file. Empty: there is none."""
        self._background = Background(telemetry)

    @property
    def open(self) -> bool:
        """Whether calls need no key."""
        return self._ring is None

    def admit(self, presented: bytes | None, scope: Scope) -> str | None:
        """Return the name of the key. None: calls need no key. Raises Unauthenticated, Forbidden or RateLimited."""
        if self._ring is None:
            return None
        if presented is None:
            raise Unauthenticated("send an API key in the header Authorization: Bearer … or X-API-Key")
        key = self._ring.find(presented)
        if key is None:
            raise Unauthenticated("the API key is unknown or has expired", presented=True)
        if scope not in key.scopes:
            raise Forbidden(f"the key {key.name} does not have the scope {scope}, which this call needs", scope)
        bucket = self._buckets.get(key.name)
        if bucket is not None and (wait_s := bucket.take()):
            raise RateLimited(f"the key {key.name} is over its {key.rate:g} requests/s", max(1, math.ceil(wait_s)))
        return key.name

    def scopes(self, presented: bytes | None) -> tuple[Scope, ...]:
        """Return what a presented key may do. Empty: no key, or one that is unknown; all where calls need none."""
        if self._ring is None:
            return get_args(Scope)
        key = None if presented is None else self._ring.find(presented)
        return () if key is None else tuple(key.scopes)

    def charge(self, name: str | None, requests: int) -> None:
        """Count further requests against a key's rate, for a call that was admitted and does the work of several."""
        if name is not None and (bucket := self._buckets.get(name)) is not None:
            bucket.spend(requests)

    async def configure(self, security: Security) -> None:
        """Apply the settings and read the keys. Raises BadInput, and changes nothing, when they cannot be read."""
        seen = await self._signature_of(security)  # before the file is read, so that a later change is noticed
        ring = await asyncio.to_thread(load_keys, security)
        self._security, self._seen = security, seen
        self._adopt(ring)

    def start(self) -> None:
        self._background.start("api-keys", self._look, lambda: self._security.reload_s)

    async def stop(self) -> None:
        await self._background.stop()

    def healthy(self) -> bool:
        return self._background.healthy()

    async def _look(self) -> None:
        """Read the file again if it has changed."""
        seen = await self._signature_of(self._security)
        if seen == self._seen:
            self._share()
            return
        ring, fault = None, ""
        try:
            ring = await asyncio.to_thread(load_keys, self._security)
        except BadInput as error:
            fault = str(error)
        if await self._signature_of(self._security) != seen:
            return  # it is being written: half of it may be a valid file of fewer keys
        if not fault:
            self._adopt(ring)
        elif fault != self._fault:  # a file may change several times with the same fault
            log.error("%s; the keys read last stay valid", fault)
        self._fault = fault
        self._seen = seen

    @staticmethod
    async def _signature_of(security: Security) -> tuple[int, ...]:
        path = security.keys_path()
        return () if path is None else await asyncio.to_thread(_signature, path)

    def _adopt(self, ring: KeyRing | None) -> None:
        keys = {} if ring is None else {key.name: key for key in ring.keys}
        limited = {name: key for name, key in keys.items() if key.rate is not None}
        self._buckets = {name: self._buckets.get(name) or TokenBucket(*_limits(key)) for name, key in limited.items()}
        if ring is not None and (self._ring is None or ring.keys != self._ring.keys):
            log.info("API keys: %s", ", ".join(sorted(keys)) or "none, so nothing is open")
        self._ring = ring
        self._share()

    def _share(self) -> None:
        """Set each bucket to this composer's part of the rate."""
        composers = max(1, self._composers())
        for key in self._ring.keys if self._ring else ():
            if key.name in self._buckets:
                rate, burst = _limits(key)
                bucket = self._buckets[key.name]
                bucket.rate, bucket.burst = rate / composers, max(1.0, burst / composers)


def _limits(key: ApiKey) -> tuple[float, float]:
    rate = key.rate or 0.0
    return rate, max(1.0, rate if key.burst is None else key.burst)


def _signature(path: Path) -> tuple[int, ...]:
    """Return a value that changes with the file. Links are followed."""
    try:
        status = path.stat()
    except OSError:
        return (0,)
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_ctime_ns)
