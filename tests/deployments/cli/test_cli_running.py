"""Which platform a command means, and what it says of the logs; the platforms here are one marked process each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from deployments.cli import platform_choice
from deployments.machine.instance import Instance, instance_id, instances, runtime_dir
from deployments.machine.processes import MARKER
from recsys.config.platform import Ports
from tests.support.command import Recsys
from tests.support.live import local_config

Start = Callable[[str], Instance]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts what looks like a platform, in a home of that name; those that run on the machine are not seen."""
    monkeypatch.setattr("deployments.machine.instance.runtime_root", lambda: tmp_path / "run")
    begun: list[tuple[subprocess.Popen[bytes], Instance]] = []

    def up(name: str) -> Instance:
        home = (tmp_path / name).resolve()
        file = local_config(tmp_path / f"{name}.yaml", data_dir=str(home))
        folder = runtime_dir(home)
        instance = Instance(
            id=instance_id(home), home=home, config_file=file, api_url="http://127.0.0.1:9", embedded_redis=True,
            dashboard_url="http://127.0.0.1:9", redis_url=f"unix://{folder}/valkey", runtime_dir=folder, ports=Ports(),
        )  # fmt: skip
        instance.prepare()
        instance.write()
        serve = instance.ray_logs / "serve"
        serve.mkdir(parents=True)
        line = {"asctime": "2026-11-27 17:50:14,250", "levelname": "INFO", "message": f"hello of {name}"}
        (serve / "replica_recsys_Composer_a1.log").write_bytes(orjson.dumps(line) + b"\n")
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        begun.append((subprocess.Popen(sleeper, env={**os.environ, MARKER: instance.id}), instance))
        return instance

    yield up
    for process, instance in begun:
        process.kill()
        process.wait()
        instance.remove()


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no platform ran but those of the test: that of the session may run beside it, in another process."""

    def own() -> list[Instance]:
        return [one for one in instances() if tmp_path in one.home.parents]

    monkeypatch.setattr(platform_choice, "instances", own)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder without configs/local.yaml."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.delenv("RECSYS_CONFIG", raising=False)


@pytest.mark.usefixtures("elsewhere")
def test_a_command_finds_the_platform_that_runs_and_names_several(run: Recsys, start: Start) -> None:
    """From any folder; each by the file that it was started with."""
    one = start("one")
    assert "hello of one" in run("logs").out
    other = start("other")
    error = run("logs").error()
    assert "several platforms run here" in error
    assert all(f"{instance.home} (--config {instance.config_file})" in error for instance in (one, other))
    assert "several platforms run here" in run("status").error()
    assert "hello of other" in run("logs", "--config", other.config_file).out
    assert "hello" not in run("logs", "--config", other.config_file, "--since", "1m").out
    [line] = run("logs", "--json", "--config", one.config_file).out.splitlines()
    assert orjson.loads(line)["message"] == "hello of one"


@pytest.mark.usefixtures("elsewhere")
def test_where_none_is_up_those_that_run_are_named(run: Recsys, start: Start, tmp_path: Path) -> None:
    """Of the config file that is named; `down` ends none of the others."""
    other = start("other")
    mine = local_config(tmp_path / "mine.yaml", data_dir=str(tmp_path / "mine"))
    named = f"{other.home} (--config {other.config_file})"
    for command in ("status", "hold"):
        error = run(command, "--config", mine).error()
        assert "not up; start it with: recsys up" in error
        assert named in error
    done = run("down", "--config", mine)
    assert (done.code, done.out) == (0, "")
    assert "nothing was running" in done.err
    assert named in done.err
    assert "hello of other" in run("logs").out


@pytest.mark.usefixtures("elsewhere")
def test_logs_of_what_has_ended_stay(run: Recsys, start: Start, tmp_path: Path) -> None:
    instance = start("gone")
    instance.remove()  # as `down` does
    assert "hello of gone" in run("logs", "--config", instance.config_file).out
    followed = run("logs", "composer", "--follow", "--config", instance.config_file)
    assert "the platform has ended" in followed.err
    assert "shard-9 has no log" in run("logs", "shard-9", "--config", instance.config_file).error()
    assert "neither a span" in run("logs", "--since", "soon", "--config", instance.config_file).error()
    never = local_config(tmp_path / "never.yaml", data_dir=str(tmp_path / "never"))
    assert "nothing" in run("logs", "--config", never).err
