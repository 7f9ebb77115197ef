"""recsys tune: on a version in the versions folder, with users' events, into the config file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from deployments.machine.serve_config import read_config
from recsys.tuning import halving, trial
from recsys.tuning.trial import measure

WORDS = ["rocket", "orbit", "star", "bread", "oven", "salt", "oak", "fern", "moss", "wave", "sail", "reef"]


@pytest.fixture(autouse=True)
def few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """How sure recall and times are depends on how many there are; what is said of them does not."""
    monkeypatch.setattr(halving, "FEW", 20)
    monkeypatch.setattr(halving, "MANY", 40)
    monkeypatch.setattr(trial, "SINGLE", 5)


@pytest.fixture(autouse=True)
def measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are measured in this process: one of its own takes a second to start, for each of them;
    `tests/recsys/tuning/test_halving.py` has some do so.
    """
    monkeypatch.setattr(halving.Halving.__init__, "__defaults__", (halving.Halving.say, measure))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """600 products with texts of three words and a number."""
    rng = np.random.default_rng(0)
    file = tmp_path / "shop.jsonl"
    rows = [
        {"item_id": f"p{n}", "title": " ".join(rng.choice(WORDS, 3)), "text": f"number {n}",
         "attributes": {"genres": [str(rng.choice(WORDS[:4]))], "year": 1980 + n % 40}}
        for n in range(600)
    ]  # fmt: skip
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return file


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    file = tmp_path / "events.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["user_id", "item_id", "type", "timestamp"])
        writer.writerows(
            [f"u{user}", f"p{item}", "like", 1_700_000_000 + 60 * n]
            for user in range(80)
            for n, item in enumerate(rng.choice(600, 8, replace=False))
        )
    return file


def test_what_is_chosen_is_measured_and_written(recsys, config, shop, events, tmp_path):
    """A table and one line say recall by group and what it costs, the file has the setting, a build goes by it."""
    assert recsys("build", shop, "--promote").code == 0
    picture = tmp_path / "tune.png"
    done = recsys("tune", "--engines", "flat", "--events", events, "--plot", picture)
    assert done.code == 0, done.err
    for words in (
        "s to build",
        "bytes an item",
        "queries/s a core",
        "texts 1.000",
        "filter: half",
        "(tastes of users)",
    ):
        assert words in done.err
    for setting in ("flat", "flat, originals float16", "flat, originals none"):
        assert setting in done.out
    assert picture.read_bytes()[:4] == b"\x89PNG"
    known = read_config(config)
    assert known.platform.index.engine == "flat"
    assert recsys("build", shop, "--promote").code == 0


def test_what_cannot_be_met_is_said_in_one_line(recsys, config, shop):
    """With the best that there is, exit code 1, and the file as it was; tastes are made up where no events are."""
    recsys("build", shop)
    before = config.read_text()
    done = recsys("tune", "--engines", "flat", "--memory", "1MiB", "--json")
    assert done.code == 1
    assert "no setting meets --recall 0.95, --memory: the best recall was 1.0000" in done.err
    found = json.loads(done.out)
    assert (found["chosen"], found["written"], found["tastes_of"]) == (None, False, "items")
    assert {"half", "tenth", "two at once"} <= set(found["shapes"])
    assert any(row["front"] for row in found["tried"])
    assert all(row["bytes_an_item"] > 0 for row in found["tried"])
    assert config.read_text() == before


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--memory", "much", "--memory much: write it as 800MiB or 2GiB"),
        ("--p99", "2", "--p99 2: write it as 2ms or 500us"),
        ("--version", "v9", "there is no version 'v9'"),
    ],
)
def test_bad_options_are_told_in_one_line(recsys, option, value, told):
    done = recsys("tune", option, value)
    assert done.code == 1
    assert told in done.err


def test_without_a_version_there_is_nothing_to_tune(recsys):
    done = recsys("tune")
    assert done.code == 1
    assert "there is no version to tune for" in done.err
