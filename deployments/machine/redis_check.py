"""What a Redis must be before the platform uses it. Each refusal and each warning is one line that names the fix."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from recsys.errors import RuntimeFailure
from recsys.state.connection import connect_blocking
from recsys.state.redis_keys import DEFAULT_PREFIX, PROBE
from recsys.state.redis_url import redacted

log = logging.getLogger(__name__)

LEAST_VERSION = (6, 2)
"""The first with XTRIM MINID, ZRANGE BYSCORE and ZMSCORE."""


def check_redis(url: str, prefix: str = DEFAULT_PREFIX) -> list[str]:
    """Look at the server behind a URL: one line for each thing that an operator should mend.

    RuntimeFailure, in one line and without the URL's password, for what the platform cannot work with: no answer, a
    version before 6.2, Redis Cluster, a Sentinel or a replica instead of the primary, an eviction policy that drops any
    key, and refused writes.
    """
    try:
        with connect_blocking(url) as client:
            return _looked(client, redacted(url), PROBE.under(prefix))
    except (RedisError, ValueError, OSError) as error:
        # A URL's own mistake is described with parts of the URL.
        why = "the URL is wrong" if isinstance(error, ValueError) else error
        raise RuntimeFailure(f"Redis at {redacted(url)} does not answer ({why}): start it, or mend redis_url") from None


def log_check(url: str, prefix: str) -> None:
    """Log what `check_redis` finds, refusals too: a platform that `serve deploy` started is up, and has to stay up."""
    try:
        for line in check_redis(url, prefix):
            log.warning("%s", line)
    except RuntimeFailure as error:
        log.error("%s", error)  # noqa: TRY400 - one line says all


def answers(url: str) -> bool:
    """Whether a Redis is there, be it one that still loads or asks for another password."""
    try:
        with connect_blocking(url) as client:
            client.ping()
    except (ResponseError, BusyLoadingError, AuthenticationError):
        return True
    except (RedisError, ValueError, OSError):
        return False
    return True


def refused_writes(url: str, prefix: str = DEFAULT_PREFIX) -> str | None:
    """Why this Redis takes no writes at the moment, in one line; None: it takes them."""
    try:
        with connect_blocking(url) as client:
            client.set(PROBE.under(prefix), "1", px=1000)
    except ResponseError as error:
        return _refused(redacted(url), error)
    except (RedisError, ValueError, OSError) as error:
        why = "the URL is wrong" if isinstance(error, ValueError) else error
        return f"Redis at {redacted(url)} does not answer ({why})"
    return None


def _looked(client: redis.Redis, place: str, probe: str) -> list[str]:
    client.ping()
    hello = _hello(client)
    _refuse_kind(place, hello.get("mode"), hello.get("role"))
    told, unread = _info(client)
    version = _version(hello.get("version") or told.get("redis_version"))
    if version is not None and version < LEAST_VERSION:
        raise RuntimeFailure(
            f"Redis at {place} is version {'.'.join(map(str, version))}, and the platform needs "
            f"{'.'.join(map(str, LEAST_VERSION))} or later, or any Valkey: upgrade it, or mend redis_url"
        )
    _refuse_kind(place, told.get("redis_mode") or told.get("server_mode"), told.get("role"))
    policy = told.get("maxmemory_policy")
    if policy is not None and policy.startswith("allkeys"):
        raise RuntimeFailure(
            f"Redis at {place} has maxmemory-policy {policy}, which drops histories and the item log without a word "
            "when memory runs short: set it to noeviction"
        )
    try:
        client.set(probe, "1", px=1000)
    except ResponseError as error:
        raise RuntimeFailure(_refused(place, error)) from None
    return [f"Redis at {place} {line}" for line in _warnings(told, unread)]


def _warnings(told: Mapping[str, str], unread: bool) -> list[str]:
    lines = []
    if unread:
        lines.append(
            "does not let this user read INFO, so its eviction policy and persistence were not checked: it must have "
            "maxmemory-policy noeviction and appendonly yes (ACL SETUSER … +info lets this be checked)"
        )
        return lines
    policy = told.get("maxmemory_policy")
    if policy is not None and policy.startswith("volatile"):
        lines.append(
            f"has maxmemory-policy {policy}, which drops keys that have a lifetime, histories among them where users "
            "have one: set it to noeviction"
        )
    if told.get("aof_enabled") == "0":
        lines.append("has appendonly no: a crash loses what came since its last snapshot; set appendonly yes")
    return lines


def _hello(client: redis.Redis) -> dict[str, str]:
    """What the server says of itself to any user; empty where it does not know HELLO (before 6.0, some proxies)."""
    try:
        answer: Any = client.execute_command("HELLO", 2)  # type: ignore[no-untyped-call]
    except ResponseError:
        return {}
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _info(client: redis.Redis) -> tuple[dict[str, str], bool]:
    """INFO's fields as far as the user may read them, and whether they were refused."""
    told: dict[str, str] = {}
    try:
        for section in ("server", "replication", "memory", "persistence"):
            found: Any = client.info(section)
            told |= {_text(name): _text(value) for name, value in found.items()}
    except ResponseError:  # NOPERM, or a service that renamed the command
        return told, True
    return told, False


def _refuse_kind(place: str, mode: str | None, role: str | None) -> None:
    if mode == "cluster":
        raise RuntimeFailure(
            f"Redis at {place} is a Redis Cluster, which is not supported, since a write spans keys of several slots: "
            "set redis_url to a server without cluster mode, or to Sentinels (sentinel://host:26379/service)"
        )
    if mode == "sentinel":
        raise RuntimeFailure(
            f"Redis at {place} is a Sentinel: name it and its service in redis_url, as in sentinel://host:26379/service"
        )
    if role in ("slave", "replica"):
        raise RuntimeFailure(
            f"Redis at {place} is a replica, which takes no writes: set redis_url to its primary, or to its Sentinels "
            "(sentinel://host:26379/service)"
        )


def _refused(place: str, error: ResponseError) -> str:
    fix = "see its log"
    if isinstance(error, ReadOnlyError):
        fix = "set redis_url to its primary, or to its Sentinels"
    elif isinstance(error, NoPermissionError):
        fix = "give the user the rights that docs/security.md lists"
    elif isinstance(error, redis.exceptions.OutOfMemoryError):
        fix = "raise maxmemory, or free some; reads go on meanwhile"
    elif "MISCONF" in str(error):
        fix = "free its disk; reads go on meanwhile"
    return f"Redis at {place} refuses writes ({' '.join(str(error).split())[:200]}): {fix}"


def _version(said: str | None) -> tuple[int, int] | None:
    parts = (said or "").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
