"""Who waits for an answer: since when, and whether still.

HAProxy notes the moment at which it has read a request, and the machine that it runs on: where that is this one, its
clock is ours. Its note replaces one that a caller has sent. Whether the caller is still there is what uvicorn knows of
the connection: HAProxy closes its own when the caller leaves. Asking `receive()` instead would take a task for each
request.
"""

from __future__ import annotations

import socket
import time
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

from starlette.types import Receive

from recsys.transport.coalescing import Caller

_LONGEST_S = 60.0
"""A request that seems older than this, or to come from the future, was stamped by another clock."""


@cache
def _here() -> bytes:
    return socket.gethostname().encode()


class HttpCaller(Caller):
    """`stamped`: the header x-request-start, empty where there is none."""

    __slots__ = ("_exchange",)

    def __init__(self, receive: Receive, stamped: bytes) -> None:  # all in here: one is made for each request
        self.since = time.monotonic() - age_s(stamped) if stamped else time.monotonic()
        # Of uvicorn's both parsers. Of another server, or behind a layer that wraps `receive`, nobody counts as gone.
        # It holds the request, which holds this: a strong reference would leave each request to the garbage collector.
        exchange = getattr(receive, "__self__", None)
        self._exchange: Callable[[], Any] = _unknown if exchange is None else weakref.ref(exchange)

    @property
    def gone(self) -> bool:
        return getattr(self._exchange(), "disconnected", False) is True


def _unknown() -> None:
    """In place of a reference to an exchange that nobody can ask."""


def age_s(stamped: bytes) -> float:
    """Return the seconds since `t=MICROSECONDS,MACHINE`, of Unix time; 0 for what is none, or of another machine."""
    moment, _, machine = stamped[2:].partition(b",")
    if machine != _here():
        return 0.0
    try:
        age_s = time.time() - int(moment) / 1e6
    except ValueError:
        return 0.0
    return age_s if 0.0 < age_s < _LONGEST_S else 0.0
