"""The `recsys` command in this process, with a config file and a catalogue of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest

from deployments.cli import main
from tests.support.command import HASHING, ITEMS, Done, Recsys
from tests.support.live import free_ports, local_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    ports = free_ports()  # a dry run of a start looks whether they are free, and a platform may run beside the tests
    return local_config(
        tmp_path / "config.yaml",
        data_dir=str(tmp_path / "var"),
        encoder=HASHING,
        http_port=ports.pop("http"),
        ports=ports,
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Recsys:
    """`recsys` with these arguments."""
    monkeypatch.setenv("COLUMNS", "300")  # long lines stay whole
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["recsys", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Done(code, *capsys.readouterr())

    return call


@pytest.fixture
def recsys(run: Recsys, config: Path) -> Recsys:
    """`recsys` with these arguments and the test's config file."""
    return lambda *arguments: run(*arguments, "--config", config)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    file = tmp_path / "films.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, ITEMS)))
    return file
