"""The rollout of a Serve config on a running cluster, as by `serve deploy`, with waiting until it serves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import RetryError, Retrying, retry_if_not_result, stop_after_delay, wait_fixed

from deployments.machine.instance import Instance
from deployments.machine.live_scaling import behind, late
from deployments.machine.serve_config import for_serve
from deployments.machine.tls import pinned
from recsys.errors import RuntimeFailure

OnPhase = Callable[[str], None]
_PATH = "/api/serve/applications/"
_FAILED = ("DEPLOY_FAILED", "UNHEALTHY")
_POLL_S = 0.1


class Rollout:
    """A client of Serve's REST API at a dashboard. `logs`: the folder that error messages refer to. `answer_s`: seconds
    that one call waits at the most.
    """

    def __init__(self, dashboard_url: str, token: str, logs: Path, answer_s: float = 60.0) -> None:
        self._logs = logs
        self._http = httpx.Client(
            base_url=dashboard_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=answer_s,
            trust_env=False,  # do not use an HTTP proxy for loopback
            verify=dashboard_url.startswith("https:"),  # loading certificates takes 20 ms that plain HTTP needs not
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, config: dict[str, Any]) -> None:
        """Submit a config. Raises RuntimeFailure when Serve refuses it."""
        self._request("PUT", json=for_serve(config))

    def applications(self) -> dict[str, dict[str, Any]]:
        """Return each application as Serve describes it: status, message, deployments."""
        return dict(self.details()["applications"])

    def details(self) -> dict[str, Any]:
        """Return Serve's answer: the applications with their config, their deployments and replicas."""
        return dict(self._request("GET").json())

    def wait(self, api_url: str, on_phase: OnPhase, timeout_s: float, certificate: Path | None = None) -> None:
        """Wait until every application runs and a replica answers at `api_url`.

        `certificate`: the API's; None: it speaks plain HTTP. Raises RuntimeFailure after `timeout_s` seconds, and with
        the deployment's own message as soon as a deployment fails.
        """
        deadline = time.monotonic() + timeout_s
        shown = ""
        while waiting := list(self._unready()):
            if time.monotonic() > deadline:
                raise RuntimeFailure(f"not up after {timeout_s:.0f} s: {'; '.join(waiting)} (logs: {self._logs})")
            if (phase := ", ".join(waiting)) != shown:
                on_phase(shown := phase)
            time.sleep(_POLL_S)
        on_phase("HTTP")
        self._wait_for_http(api_url, max(deadline - time.monotonic(), 5.0), pinned(certificate))

    def take_over(self, config: dict[str, Any], on_phase: OnPhase, timeout_s: float) -> None:
        """Wait until all replicas run a changed config that was submitted.

        Raises RuntimeFailure after `timeout_s` seconds, and with the deployment's own message as soon as a deployment
        fails.
        """
        deadline, shown = time.monotonic() + timeout_s, ""
        while waiting := sorted({*self._unready(), *late(config, details := self.details()), *behind(config, details)}):
            if time.monotonic() > deadline:
                names = ", ".join(waiting)
                raise RuntimeFailure(f"{names}: not there after {timeout_s:.0f} s; it goes on, see `recsys status`")
            if (phase := ", ".join(waiting)) != shown:
                on_phase(shown := phase)
            time.sleep(_POLL_S)

    def _unready(self) -> Iterator[str]:
        for name, application in self.applications().items():
            if application["status"] in _FAILED:
                raise RuntimeFailure(f"{name}: {_reason(application)} (logs: {self._logs / 'serve'})")
            if application["status"] != "RUNNING":
                deployments = application["deployments"]
                late = [key for key, value in deployments.items() if value["status"] != "HEALTHY"]
                yield from sorted(late) or [name]

    def _wait_for_http(self, api_url: str, timeout_s: float, verify: SSLContext | bool) -> None:
        routed = Retrying(retry=retry_if_not_result(bool), wait=wait_fixed(_POLL_S), stop=stop_after_delay(timeout_s))
        try:
            routed(_is_routed, httpx.URL(api_url), verify)
        except RetryError:
            raise RuntimeFailure(
                f"the replicas run, but {api_url} does not lead to them (logs: {self._logs / 'serve'})"
            ) from None

    def _request(self, method: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, _PATH, **options)
        except httpx.HTTPError as error:
            raise RuntimeFailure(f"the dashboard at {self._http.base_url} does not answer: {error}") from None
        if response.is_error:
            raise RuntimeFailure(f"Serve refused: {_last(response.text)} (logs: {self._logs})")
        return response


def rollout_of(instance: Instance) -> Rollout:
    """Return the client for a running platform."""
    return Rollout(instance.dashboard_url, instance.token, instance.log_dir / "ray")


def _is_routed(api_url: httpx.URL, verify: SSLContext | bool) -> bool:
    """Return whether HAProxy routes to a replica. It learns of replicas shortly after Serve reports them as running."""
    verify = verify if api_url.scheme == "https" else False  # loading certificates takes 20 ms
    try:
        with httpx.Client(trust_env=False, timeout=5.0, verify=verify) as client:
            routes = client.get(api_url.copy_with(path="/-/routes"))
            health = client.get(api_url.copy_with(path="/-/healthz"))
            return health.is_success and routes.is_success and (api_url.path or "/") in routes.json()
    except (httpx.HTTPError, ValueError):
        return False


def _reason(application: dict[str, Any]) -> str:
    """Return the message of a failed deployment, else the application's."""
    for name, deployment in application["deployments"].items():
        if deployment["status"] in _FAILED and deployment["message"]:
            return f"{name}: {_last(deployment['message'])}"
    return _last(application["message"]) or str(application["status"])


def _last(message: str) -> str:
    """Return the last line that is not blank: a traceback ends with the error."""
    return next((line.strip() for line in reversed(message.splitlines()) if line.strip()), "")
