"""Attempts to use a running platform without its secrets, each made for real; docs/security.md has their table.

Where it does no harm, the same attempt is made once more with the secret, and must then succeed: so it is known that
the secret is what stopped the first one, and not a mistake in the attempt.
"""

from __future__ import annotations

import os
import pickle
import pwd
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import psutil
from live import Live
from ray.serve.generated.serve_pb2 import ASGIRequest

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Attempt:
    target: str
    what: str
    answer: str
    """What the platform said; for many attempts at once, what it said to each."""
    refused: bool
    with_secret: str = "–"
    """What the same attempt does for those who know the secret; – where it is not made."""
    works: bool = True
    """Whether that succeeded."""


def attempts(live: Live, folder: Path) -> list[Attempt]:
    """All of them. Nothing may appear in `folder`, which those that try to run a command name, but by the controls."""
    return [
        *_dashboard(live, folder),
        *_ray_http(live),
        *_ray_grpc(live),
        *_pickles(live, folder),
        _driver(live, folder),
        *_channel(live),
        *_files(live),
        *_haproxy(live),
    ]


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
            target, f"{method} {path.partition('?')[0]}, {', '.join(wrong)}", _counted(said.values()),
            set(said.values()) <= {401, 403}, str(allowed.status_code) if allowed else "–",
            allowed is None or allowed.is_success,
        )  # fmt: skip
    ran = _appears(folder / "job")
    yield Attempt("Ray's job API", "the job's command", "did not run before the token came", True, "ran", ran)


def _ray_http(live: Live) -> Iterator[Attempt]:
    """The HTTP ports of Ray's agents, wherever they listen."""
    for process, path in (
        ("ray::DashboardAgent", "/api/job_agent/jobs/"),
        ("ray::RuntimeEnvAgent", "/get_or_create_runtime_env"),
    ):
        said = []
        for port in _ports(live, process) - {live.instance.ports.metrics}:
            try:
                answer = httpx.post(f"http://127.0.0.1:{port}{path}", json={}, trust_env=False, timeout=TIMEOUT_S)
            except httpx.HTTPError:
                continue  # its gRPC port
            said.append(answer.status_code)
        yield Attempt(process, f"POST {path}", _counted(said), set(said) == {401})


GRPC = {
    # A process: what of its services is asked for. Each takes an empty message; none does harm.
    "gcs_server": ("/ray.rpc.InternalKVGcsService/InternalKVGet", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
    "raylet": ("/ray.rpc.NodeManagerService/GetNodeStats", "/ray.rpc.ObjectManagerService/Pull"),
    "ray::ServeReplica": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
    "ray::ServeController": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
    "ray::ProxyActor": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
    "ray::HAProxyManager": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
}


def _ray_grpc(live: Live) -> Iterator[Attempt]:
    for process, methods in GRPC.items():
        for method in methods:
            said = {port: _call(port, method, b"", None) for port in _ports(live, process)}
            served = {port: code for port, code in said.items() if code not in ("UNIMPLEMENTED", "UNAVAILABLE")}
            wrong = {_call(port, method, b"", "0" * 64) for port in served}
            known = {_call(port, method, b"", live.instance.token) for port in served}
            yield Attempt(
                process, f"gRPC {method.rpartition('.')[2]}, no token, a wrong one", _counted(served.values()),
                bool(served) and {*served.values(), *wrong} == {"UNAUTHENTICATED"}, ", ".join(known), known == {"OK"},
            )  # fmt: skip


class _Bomb:
    """Makes the file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self._file), "w")


def _pickles(live: Live, folder: Path) -> Iterator[Attempt]:
    """A replica unpickles what its gRPC port gets, so whoever may speak to it runs what he likes."""
    for deployment in ("Composer", "Encoder", "shard-0"):
        file = folder / deployment
        bomb = pickle.dumps(_Bomb(file))
        message = ASGIRequest(pickled_request_metadata=bomb, request_args=bomb).SerializeToString()
        method = "/ray.serve.ASGIService/HandleRequest"
        ports = _ports(live, f"ray::ServeReplica:recsys:{deployment}")
        said = [_call(port, method, message, token) for token in (None, "0" * 64) for port in ports]
        ran = file.exists()
        for port in ports:
            _call(port, method, message, live.instance.token)
        said = [code for code in said if code not in ("UNIMPLEMENTED", "UNAVAILABLE")]
        yield Attempt(
            f"{deployment}, replica's port", "a pickle that makes a file, no token, a wrong one", _counted(said),
            not ran and set(said) == {"UNAUTHENTICATED"}, "made the file", file.exists(),
        )  # fmt: skip


def _driver(live: Live, folder: Path) -> Attempt:
    """A program that joins the cluster as `ray.init` does."""
    file = folder / "task"
    script = (
        f"import ray; ray.init('127.0.0.1:{live.instance.ports.gcs}', log_to_driver=False)\n"
        f"ray.get(ray.remote(num_cpus=0)(lambda: open({str(file)!r}, 'w') and None).remote())"
    )
    ways = {"no token": {}, "a wrong one": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}}
    ended = {}
    for name, variables in ways.items():
        env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | variables
        try:
            done = subprocess.run(
                [sys.executable, "-c", script], env=env, capture_output=True, timeout=60, check=False, cwd=folder
            )
            ended[name] = f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            ended[name] = "no answer"
    return Attempt(
        "Ray's control store", f"ray.init and a task, {', '.join(ways)}", ", ".join(ended.values()),
        not file.exists() and "exit code 0" not in ended.values(),
    )  # fmt: skip


FRAME = struct.Struct("<IQB")
"""As in recsys/channel.py: bytes, number, code."""


def _channel(live: Live) -> Iterator[Attempt]:
    """The line between composers and shards: 32 bytes from the server, 32 that prove the secret, then frames."""
    answers: list[str] = []
    for port in _ports(live, "ray::ServeReplica:recsys:shard-0"):
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as line:
            try:
                line.settimeout(2)
                nonce = line.recv(32)
            except TimeoutError:
                continue  # a gRPC port, which waits for its caller
        if len(nonce) != 32:
            continue
        frame = FRAME.pack(2, 1, 3) + b"xx"
        for proof in (b"", os.urandom(32), nonce, bytes(32)):
            with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as line:
                line.settimeout(3)
                line.recv(32)
                line.sendall(proof + frame if proof else frame)
                try:
                    answers.append("closed" if line.recv(1) == b"" else "answered")
                except ConnectionResetError:
                    answers.append("closed")
                except TimeoutError:
                    answers.append("silence")  # fewer than 32 bytes prove nothing yet
    yield Attempt(
        "shard-0, channel", "a call with no proof, a random one, the nonce itself, zeros", _counted(answers),
        answers.count("closed") == 3 and answers.count("silence") == 1,
    )  # fmt: skip


def _files(live: Live) -> Iterator[Attempt]:
    """What another user of the machine can open; only root can try it as someone else."""
    instance = live.instance
    files = {
        "Ray's token": instance.token_file,
        "Valkey's socket": instance.valkey_socket,
        "the platform's state": instance.home / "run" / "instance.json",
        "the platform's logs": instance.log_dir / "valkey.log",
        "Valkey's data": instance.home / "valkey" / "appendonlydir",
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


def _ports(live: Live, process: str) -> set[int]:
    """Where the processes of that name or title listen."""
    found = set()
    for one in live.processes():
        try:
            if one.name() == process or " ".join(one.cmdline()).startswith(process):
                found |= {c.laddr.port for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN}
        except psutil.NoSuchProcess:
            continue
    return found


def _call(port: int, method: str, message: bytes, token: str | None) -> str:
    """The gRPC status."""
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(f"127.0.0.1:{port}", (("grpc.enable_http_proxy", 0),)) as channel:
        try:
            channel.unary_unary(method)(message, timeout=TIMEOUT_S, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


def _appears(file: Path, within_s: float = 60) -> bool:
    deadline = time.monotonic() + within_s
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return file.exists()


def _counted(said: object) -> str:
    """`401 (4 times)`."""
    found = [str(one) for one in said]  # type: ignore[attr-defined]
    return ", ".join(f"{one} ({found.count(one)}×)" if found.count(one) > 1 else one for one in dict.fromkeys(found))
