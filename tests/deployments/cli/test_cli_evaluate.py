"""`recsys evaluate` and `recsys train` on files that somebody brings: what is read, judged and said."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.support.command import Recsys

FILMS = 60
BEGIN = 1_600_000_000
"""Unix seconds of the first event."""
KINDS = ("robots at sea", "love in the war", "a city of ghosts")
BASELINES = {"popularity", "item-knn", "ials", "ease"}


def write(file: Path, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with file.open("w", newline="") as opened:
        out = csv.writer(opened)
        out.writerow(header)
        out.writerows(rows)


def bring(made: Path, people: int) -> Path:
    """People, each of whom goes up or down the films of one kind, one by one; a film in a hundred by chance."""
    rng = np.random.default_rng(3)
    made.mkdir()
    kinds = [KINDS[n * len(KINDS) // FILMS] for n in range(FILMS)]
    write(made / "items.csv", ["movie", "title", "plot"], ((n, f"Film {n}", kind) for n, kind in enumerate(kinds)))
    size = FILMS // len(KINDS)
    rows = []
    for user in range(people):
        kind, start, way, begin = rng.integers(len(KINDS)), rng.integers(size), rng.choice([-1, 1]), rng.integers(12)
        for step in range(12):
            film = rng.integers(FILMS) if rng.random() < 0.01 else kind * size + (start + way * step) % size
            rows.append(
                (f"u{user}", film, 4, BEGIN + begin + step // 2)
            )  # two of one second: the order of rows decides
    write(made / "events.csv", ["who", "movie", "stars", "timestamp"], rows)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of 30 people: too few for trees, of which most tests here ask nothing."""
    return bring(tmp_path / "data", 30)


NAMES = ("--map", "item_id=movie", "--map", "text=plot", "--map", "user_id=who")


@pytest.mark.parametrize("protocol", ["leave-last-out", "temporal"])
def test_what_is_served_is_judged_beside_known_methods(recsys: Recsys, tmp_path: Path, protocol: str) -> None:
    """Where people go one by one the next film is foreseen, which no method without an order can do."""
    folder = bring(tmp_path / "data", 80)
    done = recsys("evaluate", "--data", folder, "--protocol", protocol, *NAMES, "--json")
    assert (done.code, done.err) == (0, "")
    found = done.json
    assert (found["protocol"], found["users"], found["items"]) == (protocol, 80, FILMS)
    assert 900 < found["events"] <= 960  # less what somebody had twice
    assert found["bad_rows"] == 0
    assert found["train_s"] > 0
    assert set(found["baselines"]) == BASELINES
    for row in (found["served"], *found["baselines"].values()):
        assert 0 <= row["ndcg@10"] <= row["hr@10"] <= row["hr@100"] <= 1
        assert row["ndcg@10_ci"][0] <= row["ndcg@10"] <= row["ndcg@10_ci"][1]
    for name, row in found["baselines"].items():
        assert found["served"]["ndcg@10"] > row["ndcg@10"], name
        assert found["ahead_of"][name]["gap"] == pytest.approx(found["served"]["ndcg@10"] - row["ndcg@10"])
    assert found["short_histories"]["served"]["hr@10"] > found["short_histories"]["popularity"]["hr@10"]
    assert found["controls"]["explore 0.2"]["cold_share"] >= found["controls"]["none"]["cold_share"]
    assert not any("genres" in name for name in found["controls"])  # declared, but no film has any


def test_people_read_a_table_and_a_picture(
    recsys: Recsys, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 80 columns every number is whole, and bad rows are named."""
    monkeypatch.setenv("COLUMNS", "80")
    with (folder / "events.csv").open("a") as events:
        events.write("u1,5,4,yesterday\n")
    picture = tmp_path / "found.png"
    done = recsys("evaluate", "--data", folder, *NAMES, "--plot", picture)
    assert done.code == 1  # for the row that was refused
    for name in ("served", *BASELINES, "ndcg@10", "95 % from", "hr@100", "cold_share", "none", "explore 0.1", "chance"):
        assert name in done.out, name
    assert "…" not in done.out
    assert "1 of 361 rows of events refused" in done.err
    assert f"{folder / 'events.csv'}:362: timestamp" in done.err
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_other_column_names_teach_as_well(recsys: Recsys, folder: Path) -> None:
    """One --map is of both files: `item_id` in each, `text` in one. Baselines are judged unless they are left out."""
    mapped = (*NAMES, "--type", "like")
    done = recsys("train", folder / "events.csv", "--items", folder / "items.csv", *mapped, "--json")
    assert done.code == 0, done.err
    assert recsys("versions", "--json").json[0]["items"] == FILMS
    renamed = (folder / "items.csv").read_text().replace("movie", "item_id", 1)
    (folder / "items.csv").write_text(renamed)
    assert "has no column movie" in recsys("evaluate", "--data", folder, *NAMES, "--json").error()
    names = ("--map", "events.item_id=movie", "--map", "text=plot", "--map", "user_id=who", "--no-baselines", "--json")
    judged = recsys("evaluate", "--data", folder, *names).json
    assert judged["items"] == FILMS
    assert "baselines" not in judged
    wrong = recsys("train", folder / "events.csv", "--items", folder / "items.csv", *mapped, "--map", "sku=movie")
    assert "--map sku=movie: no such field; the fields are event_id" in wrong.error()


def test_what_can_be_known_is_said_before_the_work(
    recsys: Recsys, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong column of the last file, items that no event names, people with one film each, an engine that is not
    installed, a disk without room: no text was encoded by then, and what is to be done is in the line.
    """

    def encoded(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    for name in ("train", "evaluate"):
        monkeypatch.setattr(f"recsys.jobs.{name}.encode_all", encoded)
    items, events = folder / "items.csv", folder / "events.csv"
    train = ("train", events, "--items", items, *NAMES, "--type", "like", "--json")
    evaluate = ("evaluate", "--data", folder, *NAMES, "--json")
    good = events.read_text()

    events.write_text(good.replace("timestamp", "when", 1))
    with monkeypatch.context() as patched:
        for name in ("recsys.jobs.train.read_catalogue", "recsys.reading.dataset_folder.items_of"):
            patched.setattr(name, encoded)
        for command in (train, evaluate):
            assert "events.csv: has no column timestamp" in recsys(*command).error()

    header = ("who", "movie", "timestamp")
    write(events, header, [("u", f"film-{n}", BEGIN + n) for n in range(9)])
    for command in (train, evaluate):
        assert "9 of 9 events (100%) name items that the catalogue lacks" in (told := recsys(*command).error())
        assert "they look like 'film-0', 'film-1', 'film-2', and the catalogue's like '" in told
        assert "none of the 9 events" in recsys(*train, "--allow-unknown", 1).error()
    write(events, header, [(f"u{n}", n, BEGIN + n) for n in range(9)])
    assert "none of the 9 users has liked two items" in recsys(*train).error()
    assert "nobody to judge by" in recsys(*evaluate).error()

    events.write_text(good)
    with monkeypatch.context() as patched:
        patched.setattr("recsys.versions.prerequisites.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
        for command in (train, evaluate):
            assert "and 0 are free there: make room" in recsys(*command).error()
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    monkeypatch.delitem(sys.modules, "recsys.index.hnsw", raising=False)
    for command in (train, evaluate, ("build", items, *NAMES[:4], "--json")):
        assert "index.engine: hnsw cannot be used here" in recsys(*command).error()


def test_what_does_not_fit_is_said_in_one_line(recsys: Recsys, folder: Path, tmp_path: Path) -> None:
    """No folder, no such column, items that no event names, rows that are all bad, and nobody to judge by."""
    assert (
        "holds no items file; it needs items.csv" in recsys("evaluate", "--data", tmp_path / "none", "--json").error()
    )
    assert "items.csv: has no column item_id" in recsys("evaluate", "--data", folder, "--json").error()
    assert "--map sku=x: no such field" in recsys("evaluate", "--data", folder, "--map", "sku=x", "--json").error()
    events, header = folder / "events.csv", ("who", "movie", "timestamp")
    for rows, says in (
        ([("u", f"film-{n}", BEGIN + n) for n in range(9)], "9 of 9 events (100%) name items that the catalogue lacks"),
        (
            [("u", n, "soon") for n in range(9)],
            f"nothing goes on; 9 of them like {events}:2: timestamp",
        ),
        ([(f"u{n}", n, BEGIN + n) for n in range(9)], "nobody to judge by"),
    ):
        write(events, header, rows)
        assert says in recsys("evaluate", "--data", folder, *NAMES, "--json").err
