"""The hottest call as it is taken from a hot line: admitted, read, answered. What is special goes the other way."""

from __future__ import annotations

import time
from collections.abc import Mapping

from fastapi import Request

from deployments.api.access import check_host, is_local, presented_key
from deployments.api.callers import age_s
from deployments.api.hot_line import HotLine
from deployments.api.one_write import lines_of
from deployments.api.problems import answer_to
from deployments.api.safety import SAFETY
from deployments.api.slate_body import written
from deployments.api.traces import Traces
from deployments.api.user_queries import UserQueries
from recsys.access.gate import Gate
from recsys.answers import Slate
from recsys.datatypes import RecQuery
from recsys.errors import RecsysError
from recsys.serving.gateway import Gateway
from recsys.transport.coalescing import Caller

_SAFETY = lines_of(SAFETY)


class HotRequests:
    def __init__(self, gateway: Gateway, gate: Gate, traces: Traces) -> None:
        self._gateway = gateway
        self._gate = gate
        self._traces = traces
        self._queries = UserQueries(gateway)

    def take(self, line: HotLine, user: str, query_string: bytes, headers: Mapping[bytes, bytes]) -> bool:
        """Begin to answer; False: the request is to go through front.py.

        There go those that are traced, that ask for pages or for explanations in full, that have no id, and all that
        will be refused: front.py reads them once more, and says why.
        """
        request_id = headers.get(b"x-request-id")
        if request_id is None or self._traces.tracer is not None:
            return False
        began, since = time.perf_counter(), time.monotonic()
        if (stamp := headers.get(b"x-request-start")) is not None:
            since -= age_s(stamp)
        gate = self._gate
        try:
            query, wishes = self._queries.of(user, query_string, since, request_id.decode("ascii"))
            if wishes.page is not None or wishes.why_not is not None or query.explain == "full":
                return False
            if gate.open and not is_local(host := headers.get(b"host", b"")):
                check_host(host, self._gateway.settings.security)
            gate.admit(presented_key(headers.get(b"authorization", b""), headers.get(b"x-api-key", b"")), "read")
        except RecsysError:
            return False
        request = HotRequest(line, query, since, began)
        try:
            self._gateway.answer(query, request, request)
        except RecsysError as error:
            request.set_exception(error)
        return True


class HotRequest(Caller):
    """A request, who waits for its answer, and where that goes: a `Reply`."""

    __slots__ = ("_began", "_done", "_line", "_query")

    def __init__(self, line: HotLine, query: RecQuery, since: float, began: float) -> None:
        """`since`: by time.monotonic(), see `Caller`. `began`: when it was read, by time.perf_counter()."""
        self.since = since
        self._line, self._query, self._began = line, query, began
        self._done = False

    @property
    def gone(self) -> bool:
        return self._line.lost

    def done(self) -> bool:
        return self._done

    def set_result(self, slate: Slate) -> None:
        self._done = True
        if self._line.lost:
            return
        try:
            body, timing = written(slate, self._query, self._request_id, self._began)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller waits for a word
            self.set_exception(error)
            return
        head = b"content-length: %d\r\ncontent-type: application/json\r\nserver-timing: %b\r\n%b"
        self._line.answer(200, head % (len(body), timing.encode(), self._common()), body)

    def set_exception(self, error: BaseException) -> None:
        self._done = True
        if self._line.lost:
            return
        path = f"/v1/users/{self._query.user_id}/recommendations"
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "recsys.request_id": self._request_id}
        cause = error if isinstance(error, Exception) else RuntimeError("the composer stops")
        response = answer_to(Request(scope), cause)
        self._line.answer(response.status_code, lines_of(response.raw_headers) + self._common(), bytes(response.body))

    @property
    def _request_id(self) -> str:
        return self._query.request_id or ""

    def _common(self) -> bytes:
        """Lines of every answer."""
        if not self._line.tells_id:
            return _SAFETY
        return b"%bx-request-id: %b\r\n" % (_SAFETY, self._request_id.encode())
