"""The Redis of a cluster, as Ray's control store is told of it: there it keeps what a head that starts again needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.sentinel import Sentinel

from recsys.errors import RuntimeFailure
from recsys.state.redis_url import SentinelUrl, redacted, sentinel_url

_LOOKUP_S = 2.0
"""Seconds for a Sentinel's answer."""


@dataclass(frozen=True)
class GcsRedis:
    """Where Ray's control store keeps its tables."""

    address: str
    """`host:port`, or `rediss://host:port` with TLS."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def options(self) -> list[str]:
        """Options of `ray start`. Ray has no other way to take a password."""
        given = {"--redis-username": self.username, "--redis-password": self.password}
        return [f"{option}={value}" for option, value in given.items() if value]


def gcs_redis(url: str) -> GcsRedis:
    """Return the server that a platform's Redis URL leads to now; behind Sentinels, the primary that they name.

    Raises RuntimeFailure, in one line, when the Sentinels name none.
    """
    if (named := sentinel_url(url)) is not None:
        host, port = _primary(named, url)
        return _server(host, port, named.server, tls="ssl" in named.server)
    options: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
    tls = url.startswith("rediss:")
    return _server(str(options.get("host", "localhost")), int(options.get("port", 6379)), options, tls=tls)


def refuse_if_local(url: str | None) -> str:
    """Return the URL of a Redis that other machines reach. Raises RuntimeFailure for any other."""
    fix = "set args.redis_url or $RECSYS_REDIS_URL to a Redis that every machine reaches"
    if url is None:
        raise RuntimeFailure(f"redis_url is unset: the machines of a cluster share one Redis; {fix}")
    named = sentinel_url(url)
    hosts = [host for host, _ in named.sentinels] if named is not None else [urlsplit(url).hostname or ""]
    if url.startswith("unix:") or any(_is_loopback(host) for host in hosts):
        raise RuntimeFailure(f"redis_url: {redacted(url)} is of this machine alone; {fix}")
    return url


def _primary(named: SentinelUrl, url: str) -> tuple[str, int]:
    limits = {"socket_timeout": _LOOKUP_S, "socket_connect_timeout": _LOOKUP_S}
    manager: Any = Sentinel(named.sentinels, sentinel_kwargs=limits | named.sentinel)  # type: ignore[no-untyped-call]
    try:
        host, port = manager.discover_master(named.service)
    except RedisError as error:
        raise RuntimeFailure(f"Redis at {redacted(url)}: its Sentinels name no primary ({error}): start it") from None
    return str(host), int(port)


def _server(host: str, port: int, options: dict[str, Any], *, tls: bool) -> GcsRedis:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return GcsRedis(f"rediss://{place}" if tls else place, options.get("username"), options.get("password"))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in ("", "localhost")
