"""The same table gives the same items and events, to the bit, in every container."""

from __future__ import annotations

import csv
import gzip
import io
import json
import string
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.reading.dialect import ReadOptions
from recsys.reading.readers import read_events, read_items

DECLARED: dict[str, AttributeType] = {
    "tags": "keyword[]",
    "kind": "keyword",
    "price": "number",
    "stock": "boolean",
    "seen": "datetime",
    "day": "date",
}
CONTAINERS = ("csv", "tsv", "semicolon", "utf16", "jsonl", "json.gz", "parquet", "csv.zst")

# Letters of several scripts, quotes, separators and line breaks within cells; no white space alone, which is missing.
words = st.text(st.sampled_from(string.ascii_letters + string.digits + "é日Жß,;|'\" .:-"), min_size=1, max_size=20)
words = words.filter(lambda text: text.strip() == text)
moments = st.datetimes(datetime(1990, 1, 1), datetime(2025, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))  # noqa: DTZ001
items = st.lists(
    st.fixed_dictionaries(
        {
            "item_id": st.integers(1, 10**9),
            "title": words,
            "text": st.none() | words,
            "tags": st.none() | st.lists(st.sampled_from(["a", "b c", "é"]), min_size=1, max_size=3),
            "kind": st.none() | st.sampled_from(["x", "Y z"]),
            "price": st.none() | st.floats(-1e6, 1e6),
            "stock": st.none() | st.booleans(),
            "seen": st.none() | moments,
            "day": st.none() | moments.map(lambda at: at.date()),
            "created_at": st.none() | moments,
        }
    ),
    min_size=1,
    max_size=8,
)
events = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": words,
            "item_id": st.integers(1, 10**9),
            "type": st.sampled_from(["view", "like"]),
            "value": st.none() | st.integers(1, 5) | st.floats(0, 5),
            "timestamp": st.integers(1_000_000_000, 1_700_000_000),
        }
    ),
    min_size=1,
    max_size=8,
)


def cell(value: object) -> str:
    """As CSV would have it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return json.dumps(value)
    return value.isoformat() if hasattr(value, "isoformat") else repr(value) if isinstance(value, float) else str(value)


def write(folder: Path, container: str, rows: list[dict[str, object]]) -> Path:
    path = folder / f"rows.{container if container not in ('semicolon', 'utf16') else 'csv'}"
    if container == "parquet":
        pq.write_table(pa.Table.from_pylist([plain(row, keep_times=True) for row in rows]), path)
    elif "json" in container:
        objects = [plain(row, keep_times=False) for row in rows]
        text = json.dumps(objects) if "jsonl" not in container else "\n".join(map(json.dumps, objects))
        path.write_bytes(gzip.compress(text.encode()) if container.endswith("gz") else text.encode())
    else:
        table = io.StringIO()
        writer = csv.writer(table, delimiter={"tsv": "\t", "semicolon": ";"}.get(container, ","))
        writer.writerow(rows[0])
        writer.writerows([cell(row[name]) for name in rows[0]] for row in rows)
        data = table.getvalue().encode("utf-16" if container == "utf16" else "utf-8")
        path.write_bytes(pa.compress(data, "zstd", asbytes=True) if container.endswith("zst") else data)
    return path


def plain(row: dict[str, object], *, keep_times: bool) -> dict[str, object]:
    return {
        name: value.isoformat() if hasattr(value, "isoformat") and not keep_times else value
        for name, value in row.items()
        if value is not None or keep_times
    }


def read_alike(reader: Callable[[list[Path]], Iterator[Any]], folder: Path, rows: list[dict[str, object]]) -> list[Any]:
    """The records of the rows: every container gives the same, and none of them is refused."""
    read = {}
    for container in CONTAINERS:
        batches = list(reader([write(folder, container, rows)]))
        assert [row for batch in batches for row in (*batch.bad_rows, *batch.dropped)] == []
        read[container] = [record for batch in batches for record in batch.records]
    for container, records in read.items():
        assert records == read["csv"], container
    return read["csv"]


@settings(max_examples=15, deadline=None)
@given(rows=items)
def test_items_are_the_same_in_every_container(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    """CSV with three separators and in UTF-16, packed with zstd; JSON lines, a JSON array, packed; Parquet."""
    reader = partial(read_items, declared=DECLARED, limits=Limits())
    for row, record in zip(rows, read_alike(reader, tmp_path_factory.mktemp("same"), rows), strict=True):
        assert (record.item_id, record.title) == (str(row["item_id"]), row["title"])
        assert record.attributes.get("price") == row["price"]
        assert record.attributes.get("stock") is row["stock"]
        assert record.created_at == (row["created_at"] and row["created_at"].timestamp())


@settings(max_examples=15, deadline=None)
@given(rows=events)
def test_events_are_the_same_in_every_container_with_their_ids(tmp_path_factory: pytest.TempPathFactory, rows) -> None:
    """An event that is imported from two exports of one table is one event."""
    reader = partial(read_events, event_types=("view", "like"), limits=Limits())
    records = read_alike(reader, tmp_path_factory.mktemp("same"), rows)
    assert [event.value for event in records] == [row["value"] for row in rows]


@pytest.mark.parametrize("container", CONTAINERS)
def test_cells_in_words_clothes_are_read_alike(tmp_path: Path, container: str) -> None:
    """Lists in cells, thousands, money, words for missing and for times do not depend on the container."""
    rows = [
        {"item_id": "1", "title": "a", "tags": "x|y", "price": "1,999", "stock": "yes", "seen": "September 25, 2021"},
        {"item_id": "2", "title": "b", "tags": "['x', 'y']", "price": "$25.00", "stock": "0", "seen": "45092"},
        {"item_id": "3", "title": "c", "tags": '["x", "y"]', "price": "—", "stock": "N/A", "seen": "20230615"},
    ]
    records = [r for b in read_items([write(tmp_path, container, rows)], DECLARED, Limits()) for r in b.records]
    june, september = 1_686_787_200.0, 1_632_528_000.0
    assert [record.attributes for record in records] == [
        {"tags": ["x", "y"], "price": 1999.0, "stock": True, "seen": september},
        {"tags": ["x", "y"], "price": 25.0, "stock": False, "seen": june},
        {"tags": ["x", "y"], "seen": june},
    ]


def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    """A JSON array named .jsonl, packed bytes without .gz, JSON lines named .txt."""
    rows = [{"item_id": str(i), "title": f"t{i}"} for i in range(3)]
    lines = "\n".join(map(json.dumps, rows)).encode()
    for name, data in {
        "a.jsonl": json.dumps(rows, indent=1).encode(),
        "b.csv": gzip.compress(b"item_id,title\n0,t0\n1,t1\n2,t2\n"),
        "c.txt": lines,
        "d.json": lines,
        "e": b"item_id\ttitle\n0\tt0\n1\tt1\n2\tt2\n",
        "f.json": json.dumps({"count": 3, "products": rows}).encode(),
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        read = [record for batch in read_items([path], {}, Limits(), ReadOptions()) for record in batch.records]
        assert [(record.item_id, record.title) for record in read] == [("0", "t0"), ("1", "t1"), ("2", "t2")], name
