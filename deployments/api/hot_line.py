"""A connection on which the hottest call is answered without ASGI.

For each request uvicorn calls Python for the URL, for every header and for both ends of the message, makes a scope and
starts a task. With our own layers on top that takes twice the time of what has to be done. HAProxy keeps its
connections to a composer, and nearly all that comes over them is one call, written by HAProxy in one form. Here a
request of just this form is taken from the bytes and answered to the connection. Everything else goes to uvicorn's
protocol, as it came.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deployments.api.one_write import status_line

_REQUEST = re.compile(
    rb"GET /v1/users/([\w.~%:@!$&'()*+,;=-]{1,512})/recommendations(?:\?([\w.~%:@!$&'()*+,;=/?-]*))? HTTP/1\.1\r\n"
    rb"((?:[a-z0-9-]+:(?: [\x21-\x7e]+)+\r\n)*)\r\n"
)
"""A whole request without a body. Names of headers are as HAProxy writes them, in lower case."""
_LONGEST = 16_384
"""Bytes of a request. Longer ones are for uvicorn to refuse or to read."""
_ELSEWHERE = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"http2-settings", b"te", b"trailer"),
        *(b"content-length", b"transfer-encoding", b"expect", b"origin"),
    }
)
"""Headers that concern the connection, a body or a browser: uvicorn and front.py know what they ask for."""

Take = Callable[["HotLine", str, bytes, Mapping[bytes, bytes]], bool]
"""(line, user id as it came, query string, headers) -> whether the request will be answered by `HotLine.answer`."""


def put_before(server: object, take: Take, *, tells_id: bool) -> None:
    """Put a hot line before the protocol of a connection on which uvicorn serves HTTP; another server is left alone.

    `server`: the protocol. `tells_id`: whether answers are to name the request's id.
    """
    if isinstance(server, HttpToolsProtocol) and not server.access_log and server.limit_concurrency is None:
        HotLine(server, take, tells_id=tells_id)


class HotLine(asyncio.Protocol):
    """Stands before the protocol of a connection, and in its place among those that uvicorn closes."""

    def __init__(self, behind: HttpToolsProtocol, take: Take, *, tells_id: bool) -> None:
        self._behind = behind
        self._take = take
        self.tells_id = tells_id
        self.lost = False
        """Whether the connection is."""
        self._busy = False
        """Whether an answer is owed that `take` has promised."""
        self._rests = False
        """Whether uvicorn has seen whole requests only, and answered them all; True is certain."""
        self._ahead = b""
        """What has come before the answer was given."""
        self._closes = False
        self._rested_at = 0.0
        """When the last answer was given, by the loop's time."""
        self._watch: asyncio.TimerHandle | None = None
        self._told: list[tuple[bytes, bytes]] = []
        self._head = b""
        """`_told`, the headers of every answer, as bytes."""
        self._transport = behind.transport
        self._connections = cast(set[object], behind.connections)
        self._connections.discard(behind)
        self._connections.add(self)  # of which uvicorn calls `shutdown` alone
        self._transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        if self._busy:
            self._ahead += data
            if len(self._ahead) > _LONGEST:
                self._behind.flow.pause_reading()
            return
        if self._at_rest() and len(data) <= _LONGEST and (request := _REQUEST.fullmatch(data)) is not None:
            user, query_string, lines = request.groups()
            parts = lines.split(b"\r\n")
            headers = {name: value for name, _, value in (line.partition(b": ") for line in parts)}
            if len(headers) == len(parts) and _ELSEWHERE.isdisjoint(headers):  # none is given twice
                self._busy = True
                if self._take(self, user.decode("ascii"), query_string or b"", headers):
                    self._watch_over()
                    return
                self._busy = False
        self._rests = False
        self._behind.data_received(data)
        if self._transport.get_protocol() is not self:  # uvicorn has upgraded the connection
            self._connections.discard(self)

    def _at_rest(self) -> bool:
        """Whether uvicorn's parser stands between two requests, and nothing waits to be sent."""
        behind = self._behind
        if behind.flow.write_paused:  # the caller reads more slowly than we write
            return False
        if not self._rests:
            cycle: Any = behind.cycle
            if cycle is None:
                self._rests = behind.scope is None
            else:  # a scope that is not the cycle's is that of a head which has come in part
                whole = cycle.response_complete and not cycle.more_body and not behind.pipeline
                self._rests = whole and cycle.scope is behind.scope
        return self._rests

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Give the answer that is owed. `headers`: lines, which with the body's length say all of this answer."""
        self._busy = False
        if self.lost or self._transport.is_closing():
            return
        state = self._behind.server_state
        state.total_requests += 1
        if self._told is not state.default_headers:  # uvicorn makes them anew once a second
            self._told = state.default_headers
            self._head = b"".join([b"%b: %b\r\n" % header for header in self._told])
        closing = b"connection: close\r\n" if self._closes else b""
        self._transport.write(b"".join((status_line(status), self._head, headers, closing, b"\r\n", body)))
        if self._closes:
            self._transport.close()
            return
        self._rested_at = self._behind.loop.time()
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            self._behind.flow.resume_reading()
            self.data_received(ahead)

    def _watch_over(self) -> None:
        """See to it that the connection is closed when nothing has come for uvicorn's `timeout_keep_alive`.

        One timer looks now and then: uvicorn starts and ends one around every request.
        """
        behind = self._behind
        if behind.timeout_keep_alive_task is not None:
            behind.timeout_keep_alive_task.cancel()
            behind.timeout_keep_alive_task = None
        if self._watch is None:
            self._watch = behind.loop.call_later(behind.timeout_keep_alive, self._look)

    def _look(self) -> None:
        self._watch, behind = None, self._behind
        if self.lost or behind.timeout_keep_alive_task is not None:  # uvicorn looks itself
            return
        left_s = float(behind.timeout_keep_alive)
        if not self._busy and self._rests:
            left_s += self._rested_at - behind.loop.time()
        if left_s > 0:
            self._watch = behind.loop.call_later(left_s, self._look)
        else:
            behind.timeout_keep_alive_handler()

    def shutdown(self) -> None:
        """Close the connection once what is owed is answered; uvicorn calls it when it stops."""
        if self._busy:
            self._closes = True
        else:
            self._behind.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._watch is not None:
            self._watch.cancel()
        self._connections.discard(self)
        self._behind.connection_lost(exc)

    def eof_received(self) -> None:
        self._behind.eof_received()

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()
