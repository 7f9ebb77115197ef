"""Checks of a Redis before the platform uses it. Each refusal and each warning is one line that names the fix."""

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
"""The first version with XTRIM MINID, ZRANGE BYSCORE and ZMSCORE."""


def check_redis(url: str, prefix: str = DEFAULT_PREFIX) -> list[str]:
    """Check the server at a URL. Return a warning, in one line, for each setting that an operator should change.

    Raises RuntimeFailure, in one line and without the URL's password, when the platform cannot use it: no answer, a
    version before 6.2, Redis Cluster, a Sentinel or a replica instead of the primary, an eviction policy that drops any
    key, or refused writes.
    """
    try:
        with connect_blocking(url) as client:
            return _checked(client, redacted(url), PROBE.under(prefix))
    except (RedisError, ValueError, OSError) as error:
        # The message of a ValueError quotes the URL, which may have a password.
        why = "the URL is wrong" if isinstance(error, ValueError) else error
        raise RuntimeFailure(f"Redis at {redacted(url)} does not answer ({why}): start it, or mend redis_url") from None


def log_check(url: str, prefix: str) -> None:
    """Log the warnings and the refusal of `check_redis`, for a platform that `serve deploy` started and that runs."""
    try:
        for line in check_redis(url, prefix):
            log.warning("%s", line)
    except RuntimeFailure as error:
        log.error("%s", error)  # noqa: TRY400 - one line says all


def answers(url: str) -> bool:
    """Return whether a Redis answers, also if it is still loading or requires another password."""
    try:
        with connect_blocking(url) as client:
            client.ping()
    except (ResponseError, BusyLoadingError, AuthenticationError):
        return True
    except (RedisError, ValueError, OSError):
        return False
    return True


def refused_writes(url: str, prefix: str = DEFAULT_PREFIX) -> str | None:
    """Return why this Redis refuses writes at the moment, in one line. None: it accepts them."""
    try:
        with connect_blocking(url) as client:
            client.set(PROBE.under(prefix), "1", px=1000)
    except ResponseError as error:
        return _refused(redacted(url), error)
    except (RedisError, ValueError, OSError) as error:
        why = "the URL is wrong" if isinstance(error, ValueError) else error
        return f"Redis at {redacted(url)} does not answer ({why})"
    return None


def _checked(client: redis.Redis, place: str, probe: str) -> list[str]:
    client.ping()
    hello = _hello(client)
    _refuse_kind(place, hello.get("mode"), hello.get("role"))
    info, unread = _info(client)
    version = _version(hello.get("version") or info.get("redis_version"))
    if version is not None and version < LEAST_VERSION:
        raise RuntimeFailure(
            f"Redis at {place} is version {'.'.join(map(str, version))}, and the platform needs "
            f"{'.'.join(map(str, LEAST_VERSION))} or later, or any Valkey: upgrade it, or mend redis_url"
        )
    _refuse_kind(place, info.get("redis_mode") or info.get("server_mode"), info.get("role"))
    policy = info.get("maxmemory_policy")
    if policy is not None and policy.startswith("allkeys"):
        raise RuntimeFailure(
            f"Redis at {place} has maxmemory-policy {policy}, which drops histories and the item log without a word "
            "when memory runs short: set it to noeviction"
        )
    try:
        client.set(probe, "1", px=1000)
    except ResponseError as error:
        raise RuntimeFailure(_refused(place, error)) from None
    return [f"Redis at {place} {line}" for line in _warnings(info, unread)]


def _warnings(info: Mapping[str, str], unread: bool) -> list[str]:
    lines = []
    if unread:
        lines.append(
            "does not let this user read INFO, so its eviction policy and persistence were not checked: it must have "
            "maxmemory-policy noeviction and appendonly yes (ACL SETUSER … +info lets this be checked)"
        )
        return lines
    policy = info.get("maxmemory_policy")
    if policy is not None and policy.startswith("volatile"):
        lines.append(
            f"has maxmemory-policy {policy}, which drops keys that have a lifetime, histories among them where users "
            "have one: set it to noeviction"
        )
    if info.get("aof_enabled") == "0":
        lines.append("has appendonly no: a crash loses what came since its last snapshot; set appendonly yes")
    return lines


def _hello(client: redis.Redis) -> dict[str, str]:
    """Return the answer to HELLO, which needs no permission. Empty: the server lacks it (before 6.0, some proxies)."""
    try:
        answer: Any = client.execute_command("HELLO", 2)  # type: ignore[no-untyped-call]
    except ResponseError:
        return {}
    pairs = answer.items() if isinstance(answer, dict) else zip(answer[::2], answer[1::2], strict=True)
    return {_text(name): _text(value) for name, value in pairs}


def _info(client: redis.Redis) -> tuple[dict[str, str], bool]:
    """Return the fields of INFO that the user may read, and whether a section was refused."""
    info: dict[str, str] = {}
    try:
        for section in ("server", "replication", "memory", "persistence"):
            fields: Any = client.info(section)
            info |= {_text(name): _text(value) for name, value in fields.items()}
    except ResponseError:  # NOPERM, or a service that has renamed the command
        return info, True
    return info, False


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


def _version(text: str | None) -> tuple[int, int] | None:
    parts = (text or "").split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return None
    return int(parts[0]), int(parts[1])


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
