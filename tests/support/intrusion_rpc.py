"""Attempts on Ray's and our own ports that speak something else than HTTP, as in intrusion.py."""

from __future__ import annotations

import hmac
import os
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import orjson
import psutil
import redis

from recsys.state import redis_keys
from tests.support.live import Live

TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Attempt:
    target: str
    what: str
    answer: str
    """What the platform said; for many attempts at once, what it said to each."""
    refused: bool
    with_secret: str = "-"
    """What the same attempt does for those who know the secret; - where it is not made."""
    works: bool = True
    """Whether that succeeded."""


def attempts(live: Live, folder: Path) -> Iterator[Attempt]:
    yield from _grpc(live)
    yield from _pickles(live, folder)
    yield _driver(live, folder)
    yield from _channel(live)


GRPC = {
    # A process: what of its services is asked for. Each takes an empty message; none does harm.
    "gcs_server": ("/ray.rpc.InternalKVGcsService/InternalKVGet", "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
    "raylet": ("/ray.rpc.NodeManagerService/GetNodeStats", "/ray.rpc.ObjectManagerService/Pull"),
    "ray::ServeReplica": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
    "ray::ServeController": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
    "ray::ProxyActor": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
    "ray::HAProxyManager": ("/ray.rpc.CoreWorkerService/GetCoreWorkerStats",),
}


def _grpc(live: Live) -> Iterator[Attempt]:
    for process, methods in GRPC.items():
        for method in methods:
            said = {port: _call(port, method, b"", None) for port in ports_of(live, process)}
            served = {port: code for port, code in said.items() if code not in ("UNIMPLEMENTED", "UNAVAILABLE")}
            wrong = {_call(port, method, b"", "0" * 64) for port in served}
            known = {_call(port, method, b"", live.instance.token) for port in served}
            yield Attempt(
                process, f"gRPC {method.rpartition('.')[2]}, no token, a wrong one", said_by(served.values()),
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
    from ray.serve.generated.serve_pb2 import ASGIRequest  # noqa: PLC0415 - takes seconds

    for deployment in ("Composer", "Encoder", "shard-0"):
        file = folder / deployment
        bomb = pickle.dumps(_Bomb(file))
        message = ASGIRequest(pickled_request_metadata=bomb, request_args=bomb).SerializeToString()
        method = "/ray.serve.ASGIService/HandleRequest"
        ports = ports_of(live, f"ray::ServeReplica:recsys:{deployment}")
        said = [_call(port, method, message, token) for token in (None, "0" * 64) for port in ports]
        ran = file.exists()
        for port in ports:
            _call(port, method, message, live.instance.token)
        said = [code for code in said if code not in ("UNIMPLEMENTED", "UNAVAILABLE")]
        yield Attempt(
            f"{deployment}, replica's port", "a pickle that makes a file, no token, a wrong one", said_by(said),
            not ran and set(said) == {"UNAUTHENTICATED"}, "made the file", file.exists(),
        )  # fmt: skip


def _driver(live: Live, folder: Path) -> Attempt:
    """A program that joins the cluster as `ray.init` does, and runs a task there."""
    script = (
        f"import ray, sys; ray.init('127.0.0.1:{live.instance.ports.gcs}', log_to_driver=False)\n"
        "ray.get(ray.remote(num_cpus=0)(lambda file: open(file, 'w') and None).remote(sys.argv[1]))"
    )
    soon = {"RAY_NUM_REDIS_GET_RETRIES": "3"}  # tries, a second apart; else 20
    ways = {
        "no token": {"RAY_AUTH_MODE": "disabled"} | soon,
        "a wrong one": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64} | soon,
        "ours": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": live.instance.token},
    }
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # or it would go to the network's address, where nobody listens
    running = {
        way: subprocess.Popen(
            [sys.executable, "-c", script, str(folder / way)], env=env | variables, cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for way, variables in ways.items()
    }  # fmt: skip
    said = {way: process.communicate(timeout=120)[1] for way, process in running.items()}
    refused = all(running[way].returncode == 1 and "ConnectionError" in said[way] for way in ways if way != "ours")
    ran = {way for way in ways if (folder / way).exists()}
    return Attempt(
        "gcs_server", "ray.init and a task, no token, a wrong one", "ConnectionError" if refused else "connected",
        refused and ran <= {"ours"}, "ran the task", ran == {"ours"},
    )  # fmt: skip


FRAME = struct.Struct("<IQB")
"""As in recsys/transport/frames.py: bytes, number, code."""


def _channel(live: Live) -> Iterator[Attempt]:
    """The line between composers and shards: a nonce, the server's nonce and proof, the client's proof, then frames."""
    with redis.Redis.from_url(live.instance.redis_url) as store:
        words = redis_keys.presence("shard")[0].under("recsys")
        known = [orjson.loads(member) for member in store.hgetall(words).values()]
        secret = store.get(redis_keys.SECRET.under("recsys"))
    for address in {member["address"] for member in known}:
        old = _over_channel(address, lambda _mine, _answer: bytes(32))[0]

        def proof(mine: bytes, answer: bytes, address: str = address) -> bytes:
            return hmac.digest(secret, b"client" + mine + answer[:32] + address.encode(), "sha256")

        ways: dict[str, Callable[[bytes, bytes], bytes]] = {
            "a random proof": lambda _mine, _answer: os.urandom(32),
            "the server's own proof": lambda _mine, answer: answer[32:],
            "zeros": lambda _mine, _answer: bytes(32),
            "the proof of another line": lambda mine, _, old=old: proof(mine, old),
            "the proof of another address": lambda mine, answer: proof(mine, answer, "127.0.0.1:1"),
        }
        said = [_over_channel(address, made)[1] for made in ways.values()]
        known_by = _over_channel(address, proof)[1]
        yield Attempt(
            "a shard's channel", f"a call with {', '.join(ways)}", said_by(said), set(said) == {"closed"}, known_by,
            known_by == "answered",
        )  # fmt: skip


def _over_channel(address: str, proof: Callable[[bytes, bytes], bytes]) -> tuple[bytes, str]:
    """The server's part of the greeting, and what it does with a call after that proof."""
    host, _, port = address.rpartition(":")
    mine = os.urandom(32)
    with socket.create_connection((host, int(port)), TIMEOUT_S) as line:
        line.sendall(mine)
        answer = line.recv(64, socket.MSG_WAITALL)
        line.sendall(proof(mine, answer) + FRAME.pack(2, 1, 3) + b"xx")
        try:
            return answer, "answered" if line.recv(1) else "closed"
        except ConnectionResetError:
            return answer, "closed"
        except TimeoutError:
            return answer, "silent"


def ports_of(live: Live, process: str) -> set[int]:
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


def said_by(said: Iterable[object]) -> str:
    """Each answer once."""
    return ", ".join(dict.fromkeys(str(one) for one in said))
