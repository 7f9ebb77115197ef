"""Events read from files: ids, defaults, and bad rows."""

from __future__ import annotations

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.reading.refusals import BadRow
from tests.support.data_files import events_of, write


@pytest.mark.parametrize("name", ["e.csv", "e.csv.gz", "e.jsonl", "e.jsonl.gz", "e.ndjson", "e.parquet", "E.CSV"])
def test_every_format_gives_the_same_events_with_the_same_ids(tmp_path, name):
    """4, 4.0 and "4" are one value: the id is made of the content, not of the file or its format."""
    rows = [{"user_id": "u", "item_id": i, "type": "rating", "value": 4, "timestamp": 1_000_000} for i in "ab"]
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif "csv" in name.lower():
        cells = "\n".join(",".join(map(str, row.values())) for row in rows)
        write(tmp_path, name, f"{','.join(rows[0])}\n{cells}")
    else:
        write(tmp_path, name, b"\n".join(map(orjson.dumps, rows)))
    events, bad = events_of(path)
    assert bad == []
    assert [(e.user_id, e.item_id, e.value, e.timestamp) for e in events] == [
        ("u", "a", 4.0, 1e6),
        ("u", "b", 4.0, 1e6),
    ]
    # Pinned: were these to change, importing a file again after an upgrade would double its events.
    assert [e.event_id for e in events] == ["4f05c0c03d257891a0e618d0ffac2811", "26d188f7a20085942a9925fd65cea463"]


def test_rows_that_say_the_same_are_one_event(tmp_path):
    """An import that is run twice, of a file that was sorted, doubled or cut, under another name, changes nothing."""
    rows = ["u,i,view,5", "u,i,view,5", "u,j,view,5", "u,i,like,5", "u,i,view,6"]
    ids = {}
    for name, some in (("a.csv", rows), ("b.csv", rows[::-1] * 2), ("c.csv", rows[1:])):
        events, _ = events_of(write(tmp_path, name, "\n".join(["user_id,item_id,type,timestamp", *some])), batch=2)
        ids[name] = {event.event_id for event in events}
        assert len(ids[name]) == 4
    assert ids["a.csv"] == ids["b.csv"] == ids["c.csv"]


def test_given_event_ids_are_kept(tmp_path):
    """Only a missing id is made."""
    path = write(tmp_path, "a.jsonl", '{"event_id":"mine","user_id":1,"item_id":2,"type":"view","timestamp":5}')
    events, _ = events_of(path)
    assert (events[0].event_id, events[0].user_id, events[0].item_id) == ("mine", "1", "2")


def test_defaults_stand_in_for_type_and_time(tmp_path):
    """A column is not needed then; an own value still counts, and so does an empty cell."""
    path = write(tmp_path, "a.csv", "user_id,item_id,type\nu,i,\nu,j,like\n")
    events, bad = events_of(path, default_type="view", default_timestamp=5.0)
    assert bad == []
    assert [(event.type, event.timestamp) for event in events] == [("view", 5.0), ("like", 5.0)]


def test_an_old_event_without_a_time_is_a_bad_row_and_not_new(tmp_path):
    """Nothing that comes from a file silently happens now."""
    path = write(tmp_path, "a.csv", "user_id,item_id,type,timestamp\nu,i,view,\nu,j,view,5\n")
    events, bad = events_of(path)
    assert [event.item_id for event in events] == ["j"]
    assert bad == [BadRow(str(path), 2, "timestamp: is missing", "timestamp")]


def test_bad_events_are_named_by_line_and_field(tmp_path):
    """Unknown type, milliseconds, the far future, a value that is no number."""
    path = write(
        tmp_path,
        "a.csv",
        "user_id,item_id,type,value,timestamp\n"
        "u,i,buy,,5\nu,i,view,,1700000000000\nu,i,view,,9000-01-01T00:00:00Z\nu,i,view,many,5\nu,i,view,inf,5\nu,i,view,3,5\n",
    )
    events, bad = events_of(path)
    assert [event.value for event in events] == [3.0]
    assert [row.line for row in bad] == [2, 3, 4, 5, 6]
    assert "known are: view, like, rating" in bad[0].message
    assert "not milliseconds" in bad[1].message
    assert "in the future" in bad[2].message
    assert bad[3].message == "value: must be a number, not 'many'"
    assert bad[4].message == "value: must be a number, not 'inf'"
