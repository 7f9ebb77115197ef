"""What a command does about files that lose rows, shrink the catalogue or join nothing, and what it would do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from deployments.machine.serve_config import read_config
from recsys.versions.store import VersionStore
from tests.support.command import ITEMS, Done, Recsys


def lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return file


def last(done: Done) -> str:
    """The error of a command that said more before it."""
    assert done.code == 1
    line = [line for line in done.err.splitlines() if line.strip()][-1]
    assert line.startswith("recsys: ")
    return line


@pytest.fixture
def store(config: Path) -> VersionStore:
    return VersionStore.of(read_config(config).platform)


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    """Item and event files of one another, without anything wrong."""
    items = lines(tmp_path / "shop.jsonl", [row | {"item_id": str(50 + n)} for n, row in enumerate(ITEMS)])
    events = tmp_path / "events.csv"
    rows = [f"u{n % 9},{50 + (n * 7) % 40},like,{1_700_000_000 + 60 * n}" for n in range(200)]
    events.write_text("\n".join(["user_id,item_id,type,timestamp", *rows]))
    return items, events


ALL_BAD = {
    "every title empty": [{"item_id": str(n), "title": ""} for n in range(20)],
    "no ids": [{"item_id": None, "title": "Lamp"} for n in range(20)],
    "one of ten": [{"item_id": str(n), "title": "Lamp" if n % 10 else ""} for n in range(20)],
}


@pytest.mark.parametrize("rows", ALL_BAD.values(), ids=ALL_BAD.keys())
def test_a_file_that_loses_too_many_rows_is_not_built(
    recsys: Recsys, tmp_path: Path, films: Path, store: VersionStore, rows: list[dict[str, Any]]
) -> None:
    """The good version stays, nothing is published, and the reasons are summed up with three examples each."""
    good = recsys("build", films, "--promote", "--json").json["version"]
    bad = lines(tmp_path / "bad.jsonl", rows)
    for _ in range(3):
        done = recsys("build", bad, "--promote")
        assert "rows were refused" in last(done)
        assert "--allow-bad" in last(done)
        examples = min(3, sum(not row["item_id"] or not row["title"] for row in rows))
        assert done.err.count(f"    {bad}:") == examples
    assert [m.version for m in store.versions()] == [good]
    assert store.served() == [good]
    told = recsys("build", bad, "--promote", "--json")
    assert told.code == 1
    assert told.json["bad_rows"] == told.json["read"]["items"]["bad_rows"] > 0
    assert "rows were refused" in told.json["error"]


def test_few_bad_rows_are_left_out_and_the_exit_code_tells(recsys: Recsys, tmp_path: Path, store: VersionStore) -> None:
    """One of 41 is under the share that stops a build; who allows it in so many words gets 0."""
    file = lines(tmp_path / "films.jsonl", [*ITEMS, {"item_id": "no-text", "title": ""}])
    done = recsys("build", file, "--promote")
    assert done.code == 1
    assert store.manifest(store.current() or "").items == 40
    assert "1 of 41 rows of items refused (2.4%)" in done.err
    assert f"{file}:41: title and text are both empty" in done.err
    assert "--allow-bad 0.03" in done.err
    allowed = recsys("build", file, "--allow-bad", "0.03", "--json")
    assert allowed.code == 0
    [reason] = allowed.json["read"]["items"]["refused"]
    assert (reason["count"], len(reason["examples"])) == (1, 1)
    assert "1 of 41 rows were refused" in last(recsys("build", file, "--allow-bad", "0"))


def test_a_header_alone_is_no_catalogue(recsys: Recsys, tmp_path: Path, films: Path, store: VersionStore) -> None:
    file = tmp_path / "header.csv"
    file.write_text("item_id,title\n")
    assert "hold no rows" in recsys("build", file, "--promote", "--allow-bad", "1", "--allow-shrink").error()
    assert store.versions() == []
    nothing = lines(tmp_path / "nothing.jsonl", [{"item_id": "a", "title": ""}])
    assert "no item to serve" in last(recsys("build", nothing, "--promote", "--allow-bad", "1", "--allow-shrink"))
    assert store.versions() == []


def test_a_catalogue_that_shrinks_is_told_before_it_is_built(
    recsys: Recsys, tmp_path: Path, films: Path, store: VersionStore
) -> None:
    """Built it may be, for it might be promoted later; that asks again."""
    good = recsys("build", films, "--promote", "--json").json["version"]
    few = lines(tmp_path / "few.jsonl", ITEMS[:19])
    assert f"shrink to 19 items, and {good}" in last(recsys("build", few, "--promote"))
    assert [m.version for m in store.versions()] == [good]
    built = recsys("build", few, "--json").json["version"]
    assert "--allow-shrink" in recsys("promote", built).error()
    assert "--allow-shrink" in recsys("promote", built, "--dry-run").error()
    assert store.current() == good
    assert recsys("promote", built, "--allow-shrink").code == 0
    assert store.current() == built
    assert recsys("rollback").code == 0


def test_a_dry_run_of_builds_and_promotions_changes_nothing(recsys: Recsys, films: Path, store: VersionStore) -> None:
    """And says what would be done, in words and as JSON."""
    planned = recsys("build", films, "--promote", "--dry-run", "--json").json
    assert (planned["dry_run"], planned["items"], planned["texts"], planned["served"]) == (True, 40, 40, None)
    assert store.versions() == []
    first = recsys("build", films, "--promote", "--json").json["version"]
    done = recsys("build", films, "--dry-run")
    assert f"would build a version of 40 items in 2 shards, 0 texts to encode, and not serve it; {first}" in done.err
    second = recsys("build", films, "--json").json["version"]
    assert f"would serve {second} with 40 items instead of {first}" in recsys("promote", second, "--dry-run").err
    assert "no earlier version" in recsys("rollback", "--dry-run").error()
    assert recsys("promote", second).code == 0
    told = recsys("rollback", "--dry-run", "--json").json
    assert (told["version"], told["served"], told["dry_run"]) == (first, second, True)
    assert store.served() == [second, first]


def test_a_dry_run_of_embedding_counts_texts(recsys: Recsys, films: Path, tmp_path: Path) -> None:
    done = recsys("embed", films, "--out", tmp_path / "embedded", "--dry-run")
    assert done.code == 0
    assert "would encode 40 texts of 40 items" in done.err
    assert not (tmp_path / "embedded").exists()


def test_training_on_events_that_join_nothing_is_an_error(
    recsys: Recsys, tmp_path: Path, shop: tuple[Path, Path], store: VersionStore
) -> None:
    """It shows the ids of both sides; half of the events may be of items that are gone."""
    items, events = shop
    foreign = tmp_path / "foreign.csv"
    foreign.write_text(
        events.read_text().replace(",5", ",x5").replace(",6", ",x6").replace(",7", ",x7").replace(",8", ",x8")
    )
    wrong = last(recsys("train", foreign, "--items", items))
    assert "200 of 200 events (100%) name items that the catalogue lacks" in wrong
    assert "'x50'" in wrong
    assert "--allow-unknown" in wrong
    assert store.versions() == []


def test_a_dry_run_of_training_says_what_it_would_learn_from(
    recsys: Recsys, tmp_path: Path, shop: tuple[Path, Path], store: VersionStore
) -> None:
    """Some events of items that are gone are counted and said."""
    items, events = shop
    mixed = tmp_path / "mixed.csv"
    mixed.write_text(events.read_text() + "\nu1,gone,like,1700100000\nu2,gone,like,1700100000\nu2,,like,5")
    planned = recsys("train", mixed, "--items", items, "--dry-run", "--json")
    assert planned.code == 1  # one row was refused
    assert (planned.json["items"], planned.json["users"], planned.json["unknown_events"]) == (40, 9, 2)
    assert planned.json["unknown_examples"] == ["gone"]
    assert planned.json["read"]["events"]["bad_rows"] == 1
    done = recsys("train", mixed, "--items", items, "--dry-run", "--allow-bad", "0.1")
    assert done.code == 0
    assert "would learn from" in done.err
    assert "2 of 202 events name 1 items that the catalogue lacks, such as 'gone'" in done.err
    assert store.versions() == []


def test_a_dry_run_of_an_import_needs_no_platform(recsys: Recsys, shop: tuple[Path, Path]) -> None:
    """It reads all of it, and sends nothing."""
    items, events = shop
    done = recsys("import", "items", items, "--dry-run", "--json")
    assert (done.json["dry_run"], done.json["sent"], done.json["read"]["items"]["taken"]) == (True, 0, 40)
    assert "would send 200 events, 0 bad rows left out" in recsys("import", "events", events, "--dry-run").err
    assert "does not answer" in last(recsys("import", "events", events))
