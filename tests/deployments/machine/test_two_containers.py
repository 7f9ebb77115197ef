"""Two containers on one folder, as the kernel has them: PID namespaces that do not see each other's processes.

What is tried is the second one: it must not start a server on the file of the first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deployments.machine.instance import Instance, instance_id, read_instance, runtime_dir
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig
from deployments.machine.valkey import is_served, start_valkey, valkey_url
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure

OWN_PIDS = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
ROOT = Path(__file__).parents[3]
CONFIG = ServeConfig.of({"applications": [{"name": "recsys", "args": {}}]})
WAIT_S = 60

FIRST = """
import os, sys, time
from pathlib import Path
from deployments.machine.valkey import start_valkey
home, socket = map(Path, sys.argv[1:])
start_valkey(home / "valkey", socket, home / "log", env=os.environ)
print("up", flush=True)
sys.stdin.read()
"""
"""The platform's part that matters: its Valkey."""

SECOND = """
import sys
from pathlib import Path
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import ServeConfig
from recsys.errors import RuntimeFailure
try:
    with Runtime(Path(sys.argv[1])).redis(ServeConfig.of({"applications": [{"name": "recsys", "args": {}}]})) as url:
        print("redis at", url)
except RuntimeFailure as error:
    print("refused:", error)
"""
"""What `recsys build --from-live`, `recsys train` and `recsys promote` do first."""


@pytest.fixture(autouse=True)
def namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skips where the kernel or the sandbox does not let this user make a PID namespace."""
    try:
        done = subprocess.run([*OWN_PIDS, "true"], capture_output=True, text=True, timeout=WAIT_S, check=False)
    except OSError as error:
        pytest.skip(f"there is no unshare here: {error}")
    if done.returncode:
        pytest.skip(f"PID namespaces are not allowed here: {done.stderr.strip()}")
    monkeypatch.delenv("RECSYS_REDIS_URL", raising=False)


@pytest.fixture
def home() -> Iterator[Path]:
    """Short: a socket's path must stay below 108 characters, and pytest's own folders may not."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


def run(script: str, *arguments: object, hidden: Path | None = None) -> str:
    """What a Python program prints in a PID namespace of its own. `hidden`: a folder that it finds empty."""
    command = [*OWN_PIDS]
    if hidden is not None:
        command += ["--mount", "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "sh"]
    command += [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def first(home: Path) -> Iterator[subprocess.Popen[str]]:
    """A container whose Valkey serves the folder. Its end is the end of all its processes."""
    socket = runtime_dir(home) / "valkey"
    socket.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    process = subprocess.Popen(
        [*OWN_PIDS, sys.executable, "-c", FIRST, str(home), str(socket)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    end(process, home)


def end(container: subprocess.Popen[str], home: Path) -> None:
    """Kill it, and wait until its server has ended, too: the kernel does that a moment later."""
    container.kill()
    container.communicate(timeout=WAIT_S)
    deadline = time.monotonic() + WAIT_S
    while is_served(home / "valkey"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(home: Path, **changes: object) -> Instance:
    """What `recsys up` writes beside the data, where the second container finds it."""
    folder = runtime_dir(home)
    values: dict[str, object] = {
        "id": instance_id(home), "home": home, "config_file": Path("x"), "api_url": "", "dashboard_url": "",
        "redis_url": valkey_url(folder / "valkey"), "embedded_redis": True, "runtime_dir": folder, "ports": Ports(),
    }  # fmt: skip
    instance = Instance.model_validate(values | changes)
    instance.write()
    return instance


def test_a_second_container_is_refused_and_nothing_acknowledged_is_lost(
    home: Path, first: subprocess.Popen[str]
) -> None:
    socket = runtime_dir(home) / "valkey"
    with redis.Redis(unix_socket_path=str(socket)) as client:
        for number in range(100):
            client.xadd("recsys:log:0", {"id": number})
        said = run(SECOND, home, hidden=socket.parents[1])
        assert said.startswith("refused: "), said
        assert f"{home / 'valkey'} is written by a Valkey that cannot be reached from here" in said
        assert said.count("\n") == 1
        client.bgrewriteaof()
        for number in range(100):
            client.xadd("recsys:log:0", {"id": number})
    end(first, home)
    with Runtime(home).redis(CONFIG) as url, redis.Redis.from_url(url) as client:
        assert client.xlen("recsys:log:0") == 200


def test_a_second_container_that_sees_the_socket_uses_it(home: Path, first: subprocess.Popen[str]) -> None:
    instance = written(home)
    assert run(SECOND, home) == f"redis at {instance.redis_url}\n"
    assert read_instance(home) == instance
    assert first.poll() is None


@pytest.mark.parametrize("seen", [True, False])
def test_down_in_a_second_container_forgets_nothing(home: Path, first: subprocess.Popen[str], seen: bool) -> None:
    """It stops no process, so it must not take the state and the sockets of the platform away."""
    instance = written(home)
    script = SECOND.replace('redis(ServeConfig.of({"applications": [{"name": "recsys", "args": {}}]}))', "down()")
    script = script.replace("with ", "").replace(" as url:", "").replace('        print("redis at", url)\n', "")
    assert "refused: " in run(script, home, hidden=None if seen else runtime_dir(home).parent)
    assert read_instance(home) == instance
    assert (runtime_dir(home) / "valkey").exists()
    assert first.poll() is None


def test_the_server_itself_holds_the_lock(home: Path) -> None:
    """Not the command that started it: that has returned. A second start in the same namespace is refused as well."""
    pid = start_valkey(home / "valkey", home / "s", home / "log", env=dict(os.environ))
    try:
        assert is_served(home / "valkey")
        with pytest.raises(RuntimeFailure, match=r"another Valkey has .*valkey"):
            start_valkey(home / "valkey", home / "t", home / "log", env=dict(os.environ))
        assert not (home / "t").exists()
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert not is_served(home / "valkey")


def test_the_environment_names_redis_to_commands_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password belongs there: what replicas go by, the commands beside them do."""
    monkeypatch.setenv("RECSYS_REDIS_URL", "redis://:secret@shop.example/1")
    assert Runtime(home).running_redis(CONFIG) == "redis://:secret@shop.example/1"
    named = ServeConfig.of({"applications": [{"args": {"redis_url": "redis://other.example"}}]})
    assert Runtime(home).running_redis(named) == "redis://other.example"


def test_a_platform_whose_own_redis_is_away_gets_no_empty_one(home: Path) -> None:
    """Built from an empty Valkey, the next version would be without all that was written over HTTP."""
    written(home, redis_url="redis://:secret@127.0.0.1:1", embedded_redis=False)
    with pytest.raises(
        RuntimeFailure, match=r"started with the Redis at redis://127\.0\.0\.1:1, which does not"
    ) as caught:
        Runtime(home).running_redis(CONFIG)
    assert "secret" not in str(caught.value)
