"""Where Redis is, as a URL.

| form | is |
| --- | --- |
| redis://[user:password@]host:port/db | one address, which may lead to another server after a failover |
| rediss://… | the same over TLS |
| unix://[user:password@]/path?db=0 | a socket of this machine |
| sentinel://[user:password@]host:port,host:port/service?db=0 | the primary that the Sentinels of these addresses name |
| sentinels://… | the same, Sentinels and servers both over TLS |

User and password are the server's. Those of the Sentinels are the options `sentinel_username` and `sentinel_password`.
All other options are redis-py's: `ssl_ca_certs=/path`, `socket_keepalive=yes`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from redis.connection import parse_url

SENTINEL_PORT = 26379
_PLAIN = {"sentinel": "redis", "sentinels": "rediss"}
"""The scheme of the servers behind Sentinels, by the scheme of the Sentinels."""
_OWN_OPTIONS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """A `sentinel://` URL, read."""

    sentinels: tuple[tuple[str, int], ...]
    """(host, port) of each Sentinel, in the order of the URL."""
    service: str
    """The name that the Sentinels know the servers by."""
    server: dict[str, Any] = field(repr=False)
    """Options of connections to the server, as redis-py names them. May hold a password."""
    sentinel: dict[str, Any] = field(repr=False)
    """Options of connections to the Sentinels. May hold a password."""


def sentinel_url(url: str) -> SentinelUrl | None:
    """Read a `sentinel://` URL; None for any other. Raises ValueError when it is wrong; the message quotes nothing of
    the URL, which may hold a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _PLAIN:
        return None
    place, _, query = rest.partition("?")
    netloc, _, path = place.partition("/")
    who, at, hosts = netloc.rpartition("@")
    service = unquote(path.strip("/"))
    if not service:
        raise ValueError("a sentinel:// URL ends with the name of the service: sentinel://host:26379/service")
    options = dict(parse_qsl(query))
    own = {name: value for name in _OWN_OPTIONS if (value := options.pop(name, None)) is not None}
    query = urlencode(options)
    read: Callable[[str], dict[str, Any]] = parse_url
    sentinels = [read(f"{_PLAIN[scheme]}://{who}{at}{host}?{query}") for host in hosts.split(",")]
    if not all(sentinel.get("host") for sentinel in sentinels):
        raise ValueError("a sentinel:// URL names a host for each Sentinel: sentinel://host:26379,host:26379/service")
    server = dict(sentinels[0])
    for name in ("host", "port", "connection_class"):
        server.pop(name, None)
    if scheme == "sentinels":
        server["ssl"] = True
    shared = {name: value for name, value in server.items() if name.startswith(("ssl", "socket_"))}
    return SentinelUrl(
        sentinels=tuple((str(each["host"]), int(each.get("port", SENTINEL_PORT))) for each in sentinels),
        service=service,
        server=server,
        sentinel=shared | {name.removeprefix("sentinel_"): value for name, value in own.items()},
    )


def redacted(url: str) -> str:
    """A Redis URL for messages: without user, password and options, each of which may hold a secret."""
    try:
        if (named := sentinel_url(url)) is not None:
            hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in named.sentinels)
            return f"{url.partition('://')[0]}://{hosts}/{named.service}"
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
