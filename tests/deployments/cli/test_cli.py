"""The `recsys` command, in this process: what it prints, where, and its exit codes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
import typer

from deployments.cli import make_cli
from deployments.cli.commands import COMMANDS, load
from deployments.machine import serve_config
from tests.support.command import HASHING, Recsys
from tests.support.live import local_config


def commands() -> list[tuple[str, ...]]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, inner in getattr(command, "commands", {}).items():
            yield (*path, name)
            yield from walk(inner if path else load(name), (*path, name))

    return list(walk(typer.main.get_command(make_cli()), ()))


def test_help_names_every_command(run: Recsys) -> None:
    done = run("--help")
    assert done.code == 0
    names = {path[0] for path in commands()}
    platform = {"demo", "up", "apply", "down", "status", "scale", "hold", "release", "keys", "logs"}
    assert names == set(COMMANDS)
    assert names >= platform | {
        "inspect",
        "import",
        "embed",
        "build",
        "train",
        "evaluate",
        "versions",
        "promote",
        "rollback",
        "report",
    }
    assert all(name in done.out for name in names)


WITHOUT_CONFIG = {"keys", "backups"}
"""Commands that concern no platform: what they make or list lies elsewhere."""


def test_the_help_of_a_command_says_what_it_takes(run: Recsys, subtests: pytest.Subtests) -> None:
    for path in commands():
        with subtests.test(" ".join(path)):
            done = run(*path, "--help")
            assert done.code == 0
            command = load(path[0])
            for name in path[1:]:
                command = command.commands[name]  # type: ignore[attr-defined]
            assert command.help
            assert command.help.split(":")[0].split(".")[0][:40] in " ".join(done.out.split())
            options = [
                o
                for p in command.params
                if isinstance(p, click.Option) or p.param_type_name == "option"
                for o in p.opts
            ]
            if command.params and path[0] not in WITHOUT_CONFIG:  # a group has no options
                assert {"--config", "--json"} <= {*options}
            assert all(option in done.out for option in options)
            if "files" in {p.name for p in command.params}:
                assert "files" in done.out.lower()
                assert "Parquet" in done.out


def test_a_mistyped_command_is_refused(run: Recsys) -> None:
    done = run("bild")
    assert done.code == 2
    assert "No such command 'bild'" in done.err


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("nowhere.jsonl", None, "No such file"),
        ("films.xlsx", "x", "is a spreadsheet"),
        ("films.csv", "", "is empty"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    recsys: Recsys, tmp_path: Path, name: str, text: str | None, says: str
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    assert says in recsys("build", file).error()


@pytest.mark.parametrize("command", [("status",), ("down",), ("up",), ("versions",), ("build", "films.jsonl")])
def test_an_unknown_config_file_is_refused(run: Recsys, tmp_path: Path, command: tuple[str, ...]) -> None:
    error = run(*command, "--config", tmp_path / "nowhere.yaml").error()
    assert "nowhere.yaml: No such file or directory; name another with --config" in error


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("applications: [", "is no YAML"),
        ("[]", "`applications`"),
        ("applications: [{name: x, import_path: 'a:b', args: {shards: none}}]", "shards"),
        ("applications: [{name: x, import_path: 'a:b', args: {sharks: 2}}]", "sharks"),
    ],
)
def test_a_wrong_config_file_is_refused_by_field(run: Recsys, tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(text)
    assert says in run("versions", "--config", file).error()


def test_the_config_file_may_come_from_the_environment(
    run: Recsys, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_CONFIG", str(config))
    assert run("versions", "--json").json == []


def test_a_command_reads_its_config_file_once(
    recsys: Recsys, films: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And hands on what it says: `recsys build --promote` parsed it seven times, `recsys up` as often."""
    parse, texts = serve_config.parse_yaml, []

    def counted(text: str) -> Any:
        texts.append(text)
        return parse(text)

    monkeypatch.setattr(serve_config, "parse_yaml", counted)
    version = recsys("build", films, "--promote", "--json").json["version"]
    assert len(texts) == 1
    port = int(config.read_text().split("port: ")[1].split()[0])
    events = tmp_path / "events.jsonl"
    events.write_bytes(orjson.dumps({"user_id": "u", "item_id": "1", "type": "like", "timestamp": 1.0}))
    with socket.create_server(("127.0.0.1", port)):
        for command in (
            ("build", "--from-live", "--promote", "--json"), ("versions",), ("promote", version), ("rollback",),
            ("up",), ("apply",), ("down",), ("status",), ("scale", "shard-0", "2"), ("hold",), ("release",),
            ("train", events), ("train", "--if-better"),
        ):  # fmt: skip
            texts.clear()
            recsys(*command)
            assert len(texts) == 1, command


def test_status_of_what_is_not_up_is_an_error(recsys: Recsys) -> None:
    assert "not up; start it with: recsys up" in recsys("status").error()
    assert "not up; start it with: recsys up" in recsys("status", "--json").error()


@pytest.mark.parametrize("command", [("scale", "shard-0", "2:6"), ("hold",), ("release", "shard-0")])
def test_what_is_not_up_cannot_be_scaled(recsys: Recsys, command: tuple[str, ...]) -> None:
    assert "not up; start it with: recsys up" in recsys(*command, "--json").error()


@pytest.mark.parametrize(("replicas", "says"), [("6:2", "1 <= MIN <= MAX"), ("0", "1 <= MIN"), ("two", "MIN:MAX")])
def test_bounds_that_are_none_are_refused(recsys: Recsys, replicas: str, says: str) -> None:
    assert says in recsys("scale", "shard-0", replicas).error()


def test_down_of_what_is_not_up_stops_nothing(recsys: Recsys) -> None:
    assert recsys("down", "--json").json == {"stopped": 0}
    done = recsys("down")
    assert done.code == 0
    assert "nothing was running" in done.err


@pytest.mark.parametrize("kind", ["items", "events"])
def test_an_import_into_what_is_not_up_is_an_error(recsys: Recsys, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "rows.jsonl"
    row = {"item_id": "1", "title": "x", "user_id": "1", "type": "like", "timestamp": 1.6e9}
    file.write_bytes(orjson.dumps(row))
    assert "does not answer" in recsys("import", kind, file, "--json").error()


def test_up_on_a_taken_port_is_refused_in_one_line(recsys: Recsys, config: Path, tmp_path: Path) -> None:
    """And starts nothing, though a version to serve was made."""
    port = int(config.read_text().split("port: ")[1].split()[0])
    with socket.create_server(("127.0.0.1", port)):
        error = recsys("up", "--json").error()
    assert f"port {port} (the API, http_options.port) is taken" in error
    assert recsys("status").code == 1
    assert not (tmp_path / "var" / "run" / "instance.json").exists()


def test_up_of_a_version_with_other_shards_is_refused(
    recsys: Recsys, films: Path, config: Path, tmp_path: Path
) -> None:
    version = recsys("build", films, "--promote", "--json").json["version"]
    local_config(config, data_dir=str(tmp_path / "var"), encoder=HASHING, shards=3)
    error = recsys("up", "--json").error()
    assert f"version {version} has 2 shards" in error
    assert "shards: 3" in error
    assert "apply` changes the shards" in recsys("build", films, "--json").error()
    assert f"version {version} has 2 shards" in recsys("promote", version).error()
