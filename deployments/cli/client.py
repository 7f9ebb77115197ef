"""The command line's client of the platform's HTTP API."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec
import orjson
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from deployments.machine.serve_config import ServeConfig
from deployments.machine.tls import pinned
from recsys.errors import RuntimeFailure

_JSON = {"content-type": "application/json"}


class Client:
    """A client that threads may share. Calls are repeated while the platform answers 429 or 503.

    Any other error status raises RuntimeFailure, except for a bulk call of which every element was refused: its answer
    has `refused_count`. `certificate`: the API's; None: it speaks plain HTTP. An API key is read from $RECSYS_API_KEY,
    since other users of the machine can see command lines.
    """

    def __init__(self, base_url: str, certificate: Path | None = None, timeout_s: float = 60.0) -> None:
        # trust_env: do not use an HTTP proxy for the platform on this machine.
        self._http = httpx.Client(
            base_url=base_url, timeout=timeout_s, trust_env=False, headers=_key(), verify=pinned(certificate)
        )
        self.base_url = base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """Return the JSON answer. Raises RuntimeFailure when the platform does not answer or refuses the call."""
        attempts = Retrying(
            retry=retry_if_exception(_passing),
            stop=stop_after_delay(30),
            wait=wait_random_exponential(multiplier=0.2, max=3),
            reraise=True,
        )
        try:
            response = attempts(self._send, method, path, body, query)
        except httpx.TransportError as error:
            raise RuntimeFailure(
                f"{self.base_url} does not answer ({error}); is it up? Start it with: recsys up"
            ) from error
        except httpx.HTTPStatusError as error:
            if (answer := _all_refused(error.response)) is not None:
                return answer
            raise RuntimeFailure(f"{method} {path}: {error.response.status_code} {_detail(error.response)}") from error
        answer_body: dict[str, Any] = orjson.loads(response.content)
        return answer_body

    def recommendations(self, user_id: str, k: int) -> dict[str, Any]:
        return self.call("GET", f"/v1/users/{quote(user_id, safe='')}/recommendations", k=k)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, query: dict[str, Any]) -> httpx.Response:
        sent: dict[str, Any] = {} if body is None else {"content": msgspec.json.encode(body), "headers": _JSON}
        return self._http.request(method, path, params=query, **sent).raise_for_status()


def request_of(config: ServeConfig, path: str) -> str:
    """What to type to ask the platform for a path."""
    tls = config.certificate
    key = ' -H "Authorization: Bearer $RECSYS_API_KEY"' if _key() else ""
    trust = f" --cacert {shlex.quote(str(tls[0]))}" if tls else ""
    return f"curl{trust}{key} {shlex.quote(config.api_url + path)}"


def _key() -> dict[str, str]:
    key = os.environ.get("RECSYS_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _passing(error: BaseException) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code in (429, 503)


def _all_refused(response: httpx.Response) -> dict[str, Any] | None:
    """Return the answer of a bulk call whose elements were all refused. None: it is another error."""
    try:
        answer: dict[str, Any] = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.get("code") == "all_refused" else None


def _detail(response: httpx.Response) -> str:
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
    return f"{detail}; this command takes it from $RECSYS_API_KEY" if response.status_code == 401 else detail
