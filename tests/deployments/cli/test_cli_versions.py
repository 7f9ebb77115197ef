"""Commands that build, list, promote and compare versions."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path
from typing import Any

import orjson
import pytest

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
            import pandas as pd  # noqa: PLC0415 - takes a second

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


def test_other_shards_are_built_of_what_is_live(recsys: Recsys, films: Path, config: Path, tmp_path: Path) -> None:
    """The embedded Valkey is started for it, with what it kept, and stopped again; so is nothing else."""
    assert recsys("build", films, "--promote", "--json").json["promoted"]
    local_config(config, data_dir=str(tmp_path / "var"), encoder=HASHING, shards=3)
    built = recsys("build", "--from-live", "--promote", "--json").json
    assert (built["items"], built["shards"], built["promoted"]) == (40, 3, True)
    assert [v["version"] for v in recsys("versions", "--json").json if v["current"]] == [built["version"]]
    assert (tmp_path / "var" / "valkey" / "appendonlydir").is_dir()
    assert recsys("down", "--json").json == {"stopped": 0}
    assert not (tmp_path / "var" / "run" / "instance.json").exists()
    assert "no earlier version to go back to" in recsys("rollback").error()


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
    for more in ([films], ["--promote"], ["--items", films], ["--no-trees"], ["--address", "10.0.0.1:6385"]):
        assert "--if-better learns from the platform's histories" in recsys("train", "--if-better", *more).err
