"""Attempts to use a running platform without its secrets, each made for real; docs/security.md has their table.

Where it does no harm, the same attempt is made once more with the secret, and must then succeed: so it is known that
the secret is what stopped the first one, and not a mistake in the attempt.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

import tests.support.intrusion_rpc as rpc
from tests.support.intrusion_rpc import TIMEOUT_S, Attempt, ports_of, said_by
from tests.support.live import Live


def attempts(live: Live, folder: Path) -> list[Attempt]:
    """All of them. Nothing may appear in `folder`, which those that try to run a command name, but by the controls."""
    return [*_dashboard(live, folder), *_agents(live), *rpc.attempts(live, folder), *_files(live), *_haproxy(live)]


def _dashboard(live: Live, folder: Path) -> Iterator[Attempt]:
    url, token = live.instance.dashboard_url, live.instance.token
    job = {"entrypoint": f"{sys.executable} -c \"open('{folder}/job', 'w')\""}
    calls: list[tuple[str, str, str, object, bool]] = [
        ("Ray's job API", "POST", "/api/jobs/", job, True),
        ("Ray's job API", "GET", "/api/jobs/", None, True),
        ("Serve's REST API", "GET", "/api/serve/applications/", None, True),
        ("Serve's REST API", "PUT", "/api/serve/applications/", {"applications": []}, False),
        ("Serve's REST API", "DELETE", "/api/serve/applications/", None, False),
        ("Ray's dashboard", "GET", "/nodes?view=summary", None, True),
        ("Ray's dashboard", "GET", "/logical/actors", None, True),
        ("Ray's dashboard", "GET", "/api/v0/logs", None, False),
        ("Ray's dashboard", "GET", "/logical/kill_actor?actor_id=0&force_kill=true", None, False),
    ]
    wrong = {
        "no token": {},
        "a wrong one": {"Authorization": f"Bearer {'0' * 64}"},
        "another scheme": {"Authorization": "Basic cmF5OnJheQ=="},
        "in a cookie": {"Cookie": "ray-authentication-token=" + "0" * 64},
    }
    for target, method, path, body, control in calls:
        said = {
            name: httpx.request(method, url + path, json=body, headers=headers, trust_env=False).status_code
            for name, headers in wrong.items()
        }
        own = {"Authorization": f"Bearer {token}"}
        allowed = httpx.request(method, url + path, json=body, headers=own, trust_env=False) if control else None
        yield Attempt(
            target, f"{method} {path.partition('?')[0]}, {', '.join(wrong)}", said_by(said.values()),
            set(said.values()) <= {401, 403}, str(allowed.status_code) if allowed else "-",
            allowed is None or allowed.is_success,
        )  # fmt: skip
    own_jobs = httpx.get(f"{url}/api/jobs/", headers={"Authorization": f"Bearer {token}"}, trust_env=False).json()
    ran = [job for job in own_jobs if str(folder) in (job["entrypoint"] or "")]
    yield Attempt(
        "Ray's job API", "the commands of those jobs", f"{len(ran) - 1} ran", len(ran) == 1, "1 ran",
        _appears(folder / "job"),
    )  # fmt: skip


def _agents(live: Live) -> Iterator[Attempt]:
    """The HTTP ports of Ray's agents, wherever they listen."""
    for process, path in (
        ("ray::DashboardAgent", "/api/job_agent/jobs/"),
        ("ray::RuntimeEnvAgent", "/get_or_create_runtime_env"),
    ):
        said = []
        for port in ports_of(live, process) - {live.instance.ports.metrics}:
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}{path}", json={}, trust_env=False, timeout=TIMEOUT_S)
            except httpx.HTTPError:
                continue  # its gRPC port
            said.append(answer.status_code)
        yield Attempt(process, f"POST {path}", said_by(said), set(said) == {401})


def _files(live: Live) -> Iterator[Attempt]:
    """What another user of the machine can open; only root can try it as someone else."""
    instance = live.instance
    files = {
        "Ray's token": instance.token_file,
        "Valkey's socket": instance.valkey_socket,
        "the platform's state": instance.home / "run" / "instance.json",
        "the platform's logs": instance.log_dir / "valkey.log",
        "Valkey's data": instance.home / "valkey" / "appendonlydir",
        "the fork server's socket": instance.fork_socket,
        "HAProxy's admin socket": next(instance.runtime_dir.glob("*/a"), instance.runtime_dir / "none"),
        "Ray's object store": next(instance.ray_dir.glob("session_2*/sockets/plasma_store"), instance.ray_dir / "none"),
    }
    for name, path in files.items():
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody").pw_uid
            opened = not subprocess.run(["test", "-r", str(path)], user=nobody, cwd="/", check=False).returncode
        else:
            opened = _others_may(path)
        answer = "opened" if opened else "permission denied"
        yield Attempt(name, "opened by another user", answer, path.exists() and not opened)


def _others_may(path: Path) -> bool:
    """Whether each folder on the way, and the path, has a bit for others."""
    return all(step.stat().st_mode & 0o001 for step in path.parents) and bool(path.stat().st_mode & 0o004)


def _haproxy(live: Live) -> Iterator[Attempt]:
    url = f"http://127.0.0.1:{live.instance.ports.haproxy_stats}/stats"
    body = {"s": "SERVE_PROXY_ACTOR", "action": "disable", "b": "#3"}
    answer = httpx.post(url, data=body, trust_env=False, timeout=TIMEOUT_S)
    denied = answer.status_code != 200 and "DONE" not in answer.headers.get("location", "")
    yield Attempt("HAProxy's statistics", "POST action=disable", _outcome(answer), denied)


def _outcome(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.headers.get('location', '').partition('st=')[2]}".strip()


def _appears(file: Path, within_s: float = 60) -> bool:
    deadline = time.monotonic() + within_s
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return file.exists()
