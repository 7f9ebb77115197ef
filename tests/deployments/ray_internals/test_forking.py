from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from deployments.ray_internals.forking.client import LENGTH, SOCKET, forked
from deployments.ray_internals.forking.setup_worker import simple

ASK = (
    "import json, os, sys; del sys.path[0]; from deployments.ray_internals.forking import client\n"
    "client.PATIENCE_S = 100\n"  # a test is not to fail where the imports take long
    "sys.exit(0 if client.forked(['worker.py', '--help'], os.environ | json.loads(sys.argv[1])) else 3)"
)
ROOT = Path(__file__).parents[3]
QUIET = {"OMP_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
RAYLET = {"RAY_RAYLET_PID": "1", "RAY_JOB_ID": "ffffffff"}

RAYS_HELP = "Parse addresses for the worker to connect to"


@contextmanager
def started() -> Iterator[psutil.Popen]:
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, SOCKET: f"{folder}/fork", **QUIET, "PYTHONPATH": str(ROOT)}
        process = psutil.Popen([sys.executable, "-m", "deployments.ray_internals.forking.server"], env=env, cwd=ROOT)
        while not Path(env[SOCKET]).exists():
            assert process.poll() is None
            time.sleep(0.01)
        yield process
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[psutil.Popen]:
    with started() as process:
        yield process


def ask(server: psutil.Popen, variables: dict[str, str] | None = None, **env: str) -> tuple[int, str]:
    """As a worker that the server's own environment starts: the exit code, and what the fork printed."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(RAYLET | (variables or {}))], env={**server.environ(), **env}, cwd=ROOT,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_a_fork_runs_rays_worker_on_the_streams_of_the_one_who_asked(server: psutil.Popen) -> None:
    code, printed = ask(server)
    assert code == 0
    assert RAYS_HELP in printed


def test_a_server_that_hears_of_the_raylet_imports_ray_and_forks_nothing() -> None:
    """The announced raylet is the one whose workers it takes from then on."""
    say = "from deployments.ray_internals.forking.client import announce; announce(1)"
    with started() as server:
        subprocess.run([sys.executable, "-c", say], env=server.environ(), cwd=ROOT, check=True, timeout=120)
        end = time.monotonic() + 120
        while "_raylet" not in Path(f"/proc/{server.pid}/maps").read_text():
            assert server.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        assert ask(server, {"RAY_RAYLET_PID": "2"}) == (3, "")
        assert ask(server)[0] == 0


def test_it_forks_with_one_thread_and_leaves_no_dead_behind(server: psutil.Popen) -> None:
    assert ask(server)[0] == 0
    assert server.num_threads() == 1  # the others would be missing in a fork, perhaps with a lock in hand
    assert not [child for child in server.children() if child.status() == psutil.STATUS_ZOMBIE]


def test_what_serve_sets_for_a_replica_may_differ(server: psutil.Popen) -> None:
    assert ask(server, {"RAY_SERVE_INTERNAL_DEPLOYMENT_NAME": "shard-0", "RAY_JOB_ID": "01000000"})[0] == 0


@pytest.mark.parametrize(
    "variables",
    [{"OMP_NUM_THREADS": "4"}, {"RAY_RAYLET_PID": "2"}, {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}, {"A": "1"}],
)
def test_another_environment_starts_by_itself(server: psutil.Popen, variables: dict[str, str]) -> None:
    assert ask(server, variables) == (3, "")


def test_other_modules_start_by_themselves(server: psutil.Popen, tmp_path: Path) -> None:
    path = {"PYTHONPATH": str(ROOT)}
    assert ask(server, path, PYTHONPATH=f"{ROOT}:{tmp_path}") == (3, "")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0",
        LENGTH.pack(7),
        LENGTH.pack(2**31) + b"{}",
        LENGTH.pack(2) + b"{]",
        LENGTH.pack(2) + b"{}",
    ],
)
def test_nonsense_is_hung_up_on_and_changes_nothing(server: psutil.Popen, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(server.environ()[SOCKET])
        if said:
            socket.send_fds(caller, [said], [0, 1, 2])
        caller.shutdown(socket.SHUT_WR)
        caller.settimeout(60)
        with suppress(ConnectionResetError):  # what was sent and not read
            assert caller.recv(1) == b""
    assert ask(server)[0] == 0
    assert len(os.listdir(f"/proc/{server.pid}/fd")) < 10  # noqa: PTH208 - streams that came with nonsense are closed


def test_without_a_server_a_worker_starts_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SOCKET, raising=False)
    assert not forked(["worker.py"], os.environ)
    monkeypatch.setenv(SOCKET, str(tmp_path / "nobody"))
    assert not forked(["worker.py"], os.environ)


def command(**context: object) -> list[str]:
    return [
        "worker.py", "--worker-id=1", "--language=PYTHON", "--runtime-env-hash=7",
        f"--serialized-runtime-env-context={json.dumps(context)}",
    ]  # fmt: skip


def test_a_runtime_env_of_variables_is_simple() -> None:
    asked = command(env_vars={"A": "1"}, command_prefix=[], py_executable=sys.executable, java_jars=[])
    assert simple(asked) == (["worker.py", "--worker-id=1", "--runtime-env-hash=7"], {"A": "1"})


@pytest.mark.parametrize(
    "context",
    [
        {"command_prefix": ["cd /app &&"]},
        {"py_executable": "/opt/other/bin/python"},
        {"override_worker_entrypoint": "/ray/worker.py"},
        {"env_vars": {"PATH": "/app:${PATH}"}},
    ],
)
def test_any_other_is_rays(context: dict[str, object]) -> None:
    assert simple(command(**context)) is None
