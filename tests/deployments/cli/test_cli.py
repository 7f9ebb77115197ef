"""The `recsys` command, in this process: what it prints, where, and its exit codes."""

from __future__ import annotations

import asyncio
import csv
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pandas as pd
import pytest
import typer

from deployments.cli import make_cli
from deployments.cli.commands import load
from deployments.machine import serve_config
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_config
from recsys.datatypes import Interaction, unknown_user
from recsys.state.connection import connect
from recsys.state.users import Counted, UserStore
from tests.support.command import HASHING, ITEMS, Recsys
from tests.support.live import local_config

BAD: list[tuple[dict[str, Any], str]] = [
    ({"item_id": "", "title": "No id"}, "item_id"),
    ({"item_id": "no-text", "title": "", "text": ""}, "title and text are both empty"),
    ({"item_id": "x" * 129, "title": "A long id"}, "at most 128 are allowed"),
]


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
    assert names == platform | {
        "inspect",
        "import",
        "embed",
        "build",
        "train",
        "evaluate",
        "versions",
        "promote",
        "rollback",
    }
    assert all(name in done.out for name in names)


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_the_help_of_a_command_says_what_it_takes(run: Recsys, path: tuple[str, ...]) -> None:
    done = run(*path, "--help")
    assert done.code == 0
    command = load(path[0])
    for name in path[1:]:
        command = command.commands[name]  # type: ignore[attr-defined]
    assert command.help
    assert command.help.split(":")[0].split(".")[0][:40] in " ".join(done.out.split())
    options = [
        o for p in command.params if isinstance(p, click.Option) or p.param_type_name == "option" for o in p.opts
    ]
    if command.params and path[0] != "keys":  # a group has no options, and keys are made without a config file
        assert {"--config", "--json"} <= {*options}
    assert all(option in done.out for option in options)
    if "files" in {p.name for p in command.params}:
        assert "files" in done.out.lower()
        assert "Parquet" in done.out


def test_a_mistyped_command_is_refused(run: Recsys) -> None:
    done = run("bild")
    assert done.code == 2
    assert "No such command 'bild'" in done.err


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    match file.suffix:
        case ".csv":
            with file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, ["item_id", "title", "text", "genres", "year"])
                writer.writeheader()
                writer.writerows(row | {"genres": "|".join(row.get("genres", ()))} for row in rows)
        case ".jsonl":
            file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
        case ".parquet":
            pd.DataFrame(rows).to_parquet(file)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_build_takes_good_rows_and_names_each_bad_one(recsys: Recsys, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"films{ending}"
    write(file, [*ITEMS, *(row for row, _ in BAD)])
    done = recsys("build", file, "--allow-bad", "0.1")
    assert (done.code, done.out) == (0, "")
    first = len(ITEMS) + (2 if ending == ".csv" else 1)  # lines from 1; a CSV's header is one
    for line, (_, reason) in enumerate(BAD, first):
        assert f"{file}:{line}: " in done.err
        assert reason in done.err.split(f"{file}:{line}: ")[1].splitlines()[0]
    assert "40 items in 2 shards" in done.err
    assert "3 bad rows" in done.err

    built = recsys("build", file, "--allow-bad", "0.1", "--json")
    assert built.err == ""
    assert built.json["items"] == 40
    assert built.json["bad_rows"] == 3
    assert built.json["recall_at_10"] >= 0.95
    assert built.json["promoted"] is False


def test_build_takes_several_files_and_other_column_names(recsys: Recsys, tmp_path: Path, films: Path) -> None:
    more = tmp_path / "more.csv"
    more.write_text("sku,title\n41,Film 41\n42,Film 42\n")
    wrong = recsys("build", more)
    assert "has no column item_id" in wrong.error()
    assert recsys("build", more, "--map", "item_id=sku", "--json").json["items"] == 2
    assert f"{more}: has no column item_id" in recsys("build", films, more, "--json").error()


@pytest.mark.parametrize("mapping", ["item_id", "=sku", "item_id="])
def test_a_malformed_mapping_is_refused(recsys: Recsys, films: Path, mapping: str) -> None:
    done = recsys("build", films, "--map", mapping)
    assert done.code == 2
    assert "field=column" in done.err


def test_versions_are_listed_promoted_and_rolled_back(
    recsys: Recsys, films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recsys("versions", "--json").json == []
    assert "no earlier version" in recsys("rollback").error()
    first = recsys("build", films, "--promote", "--json").json
    second = recsys("build", films, "--json").json
    assert first["promoted"] is True
    assert first["version"] != second["version"]

    def served() -> list[tuple[str, bool]]:
        return [(v["version"], v["current"]) for v in recsys("versions", "--json").json]

    assert served() == [(first["version"], True), (second["version"], False)]
    promoted = recsys("promote", second["version"])
    assert (promoted.code, promoted.out) == (0, "")
    assert f"promoted version {second['version']} with 40 items" in promoted.err
    assert served() == [(first["version"], False), (second["version"], True)]
    assert recsys("rollback", "--json").json["version"] == first["version"]
    assert served() == [(first["version"], True), (second["version"], False)]
    assert "no earlier version" in recsys("rollback").error()

    table = recsys("versions")
    assert table.err == ""
    [row] = [cells for line in table.out.splitlines() if first["version"] in (cells := line.split())]
    assert row[row.index(first["version"]) + 2] == "yes"
    assert "40" in row
    assert second["version"] in table.out
    monkeypatch.setenv("COLUMNS", "80")
    narrow = recsys("versions").out
    assert "…" not in narrow
    assert first["version"] in narrow


@pytest.mark.parametrize("version", ["v20000101-000000", "../elsewhere", ".hidden"])
def test_an_unknown_version_is_not_promoted(recsys: Recsys, films: Path, version: str) -> None:
    current = recsys("build", films, "--promote", "--json").json["version"]
    assert repr(version) in recsys("promote", version).error()
    assert [v["version"] for v in recsys("versions", "--json").json if v["current"]] == [current]


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_version_is_refused_and_the_other_one_stays(
    recsys: Recsys, films: Path, tmp_path: Path, damage: str
) -> None:
    current = recsys("build", films, "--promote", "--json").json["version"]
    broken = recsys("build", films, "--json").json["version"]
    file = max((tmp_path / "var" / "versions" / broken / "shard-1").iterdir(), key=lambda f: f.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    match damage:
        case "changed":
            file.write_bytes(data)
        case "cut":
            file.write_bytes(data[:-1])
        case "gone":
            file.unlink()
    error = recsys("promote", broken).error()
    assert str(file) in error
    assert "checksum" in error
    assert [v["version"] for v in recsys("versions", "--json").json if v["current"]] == [current]


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
    assert "--from-live first" in recsys("build", films, "--json").error()
    assert f"version {version} has 2 shards" in recsys("promote", version).error()


def test_other_shards_are_built_of_what_is_live(recsys: Recsys, films: Path, config: Path, tmp_path: Path) -> None:
    """The embedded Valkey is started for it, with what it kept, and stopped again; so is nothing else."""
    first = recsys("build", films, "--promote", "--json").json["version"]
    local_config(config, data_dir=str(tmp_path / "var"), encoder=HASHING, shards=3)
    built = recsys("build", "--from-live", "--promote", "--json").json
    assert (built["items"], built["shards"], built["promoted"]) == (40, 3, True)
    assert [v["version"] for v in recsys("versions", "--json").json if v["current"]] == [built["version"]]
    assert (tmp_path / "var" / "valkey" / "appendonlydir").is_dir()
    assert recsys("down", "--json").json == {"stopped": 0}
    assert not (tmp_path / "var" / "run" / "instance.json").exists()
    assert f"version {first} has 2 shards" in recsys("rollback").error()


def test_build_is_of_files_or_of_what_is_live(recsys: Recsys, films: Path) -> None:
    for arguments in ((), (films, "--from-live")):
        done = recsys("build", *arguments)
        assert done.code == 2
        assert "one of the two" in done.err
    assert "no version is served yet" in recsys("build", "--from-live", "--json").error()


async def liked(url: str, users: int) -> None:
    """Everybody goes through ten films in the order of their numbers, all in step."""
    async with connect(url, timeout_s=20) as redis:
        store, unknown = UserStore(redis, ttl_s=60, history=100), unknown_user(16, 16)
        for user in range(users):
            films = [(user + step) % len(ITEMS) + 1 for step in range(10)]
            events = [Interaction(f"e{n}", f"u{user}", str(film), "like", 60.0 * n) for n, film in enumerate(films)]
            await store.append({f"u{user}": [Counted(event, 1.0) for event in events]}, "none", unknown)


def test_training_is_compared_and_promoted_by_one_command(recsys: Recsys, films: Path, config: Path) -> None:
    """Of histories in the embedded Valkey, which runs for the command; without newer events there is nothing to do."""
    first = recsys("build", films, "--promote", "--json").json["version"]
    assert "nothing was trained: no event" in recsys("train", "--if-better", "--json").error()
    known = read_config(config)
    with Runtime.of(known).redis(known) as url:
        asyncio.run(liked(url, 80))
    done = recsys("train", "--if-better", "--json")
    assert (done.code, done.json["comparison"]["publish"]) == (0, True), done.err
    assert done.json["comparison"]["served_version"] == first
    assert done.json["comparison"]["cases"] == 80
    [served] = [v for v in recsys("versions", "--json").json if v["current"]]
    assert (served["version"], served["comparison"]) == (done.json["version"], done.json["comparison"])
    assert f"{served['comparison']['candidate']:.4f} ({served['comparison']['served']:.4f})" in recsys("versions").out
    assert "nothing was trained: 0 users" in recsys("train", "--if-better", "--json").error()
    assert recsys("rollback", "--json").json["version"] == first


def test_a_comparison_is_of_the_platforms_own_events(recsys: Recsys, films: Path) -> None:
    """And it promotes by itself."""
    for more in ([films], ["--promote"], ["--items", films], ["--no-trees"]):
        assert "--if-better learns from the platform's histories" in recsys("train", "--if-better", *more).err
