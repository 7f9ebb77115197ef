"""The connection to Redis."""

from __future__ import annotations

from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError  # noqa: A004 - redis's own is meant


def connect(url: str, timeout_s: float = 2.0) -> Redis:
    """A pool of connections, opened when used; an answer later than `timeout_s` raises redis TimeoutError.

    A command is tried once more only where its connection turns out to be dead: after a restart of Redis all of the
    pool's are. RESP2 keeps the parsing in hiredis and the shape of answers the same on old and new servers.
    """
    once = Retry(NoBackoff(), 1, supported_errors=(ConnectionError,))
    client: Redis = Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, protocol=2, retry=once
    )
    return client


def redacted(url: str) -> str:
    """Where a Redis URL leads, for messages: without user, password and options, each of which may hold a secret."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return f"unix://{parts.path}"
        place = f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
    except ValueError:
        return "a URL that cannot be read"
    return f"{parts.scheme}://{place}{parts.path}" if parts.hostname else "a URL that names no host"


def holds_secret(url: str) -> bool:
    """Whether a Redis URL names a user or a password."""
    return "@" in url or "password=" in url
