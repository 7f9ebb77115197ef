"""Files as people have them: which rows go in, which are reported by line, which files are refused."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config.encoder import EncoderSpec
from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.data.embedding_plan import alone, plan
from recsys.data.vector_chunks import write_chunk
from recsys.datatypes import Item
from recsys.encoders.hashing import HashingEncoder
from recsys.errors import BadInput
from recsys.reading import packed_files
from recsys.reading.readers import read_items
from recsys.reading.refusals import BadRow
from tests.support.data_files import DECLARED, items_of, write

SAVE = "save the file as UTF-8, or name its encoding with --encoding"


def test_a_csv_of_items_with_attribute_columns(tmp_path):
    """Attributes are columns of their names, keyword[] is split at |, empty cells and other columns are left out."""
    path = write(
        tmp_path,
        "items.csv",
        "item_id,title,created_at,genre,tags,year,seen_at,price\n"
        "001,Jazz,1970-01-02,music,a| b|,1977,86400,9\n"
        "x/2,Rock,60,,,,,\n",
    )
    items, bad = items_of(path)
    assert bad == []
    assert [item.item_id for item in items] == ["001", "x/2"]
    assert items[0].attributes == {"genre": "music", "tags": ["a", "b"], "year": 1977.0, "seen_at": 86_400.0}
    assert [item.created_at for item in items] == [86_400.0, 60.0]
    assert items[1].attributes == {}


def test_line_numbers_are_physical_lines_behind_quoted_newlines_and_blank_lines(tmp_path):
    """A row is named by the line on which it starts, the header being line 1."""
    path = write(
        tmp_path,
        "items.csv",
        'item_id,text\r\na,"one\r\ntwo\r\nthree"\r\n\r\n,no id\r\nb,"has ""quotes"", commas"\r\nc\r\nd,fine\r\n',
    )
    items, bad = items_of(path)
    assert [(item.item_id, item.text) for item in items] == [
        ("a", "one\r\ntwo\r\nthree"),
        ("b", 'has "quotes", commas'),
        ("d", "fine"),
    ]
    assert [row.line for row in bad] == [6, 8]
    assert bad[0] == BadRow(str(path), 6, "item_id: is missing", "item_id")
    assert bad[1].message == "has 1 cells where the header has 2; is a quote or separator missing?"


def test_a_quote_that_never_closes_costs_its_own_line_only(tmp_path):
    """The rows that it would swallow go in, with their right line numbers."""
    path = write(tmp_path, "items.csv", 'item_id,text\na,one\nb,"two\nc,three\nd,\ne,five\n')
    items, bad = items_of(path)
    assert [item.item_id for item in items] == ["a", "c", "e"]
    assert [row.line for row in bad] == [3, 5]
    assert "is not CSV" in bad[0].message


def test_bytes_that_are_not_utf8_cost_their_row_and_a_broken_header_the_file(tmp_path):
    """Latin-1 in a row is a bad row; in the header, no column name can be trusted. A BOM is no matter."""
    path = write(tmp_path, "items.csv", b"\xef\xbb\xbfitem_id,title\na,caf\xe9\nb,caf\xc3\xa9\n")
    items, bad = items_of(path)
    assert [item.title for item in items] == ["café"]
    assert bad == [BadRow(str(path), 2, f"holds bytes that are not UTF-8; {SAVE}")]
    with pytest.raises(BadInput, match="header cannot be read: holds bytes that are not UTF-8"):
        items_of(write(tmp_path, "latin.csv", b"item_id,title,a\xf1o\n1,t,1\n"), encoding="utf-8")


def test_jsonl_takes_attributes_as_object_or_top_level_and_reports_bad_lines(tmp_path):
    """Each line is judged by itself; further keys, undeclared attributes and nulls are not read."""
    lines = [
        '{"item_id": "a", "title": "A", "attributes": {"genre": "x", "year": null}, "tags": ["t"], "p": 3}',
        "",
        '{"item_id": 7, "title": "B", "text": null}',
        '{"item_id": "c", "title": "C"',
        "[1]",
        '{"item_id": "d", "title": "D", "attributes": {"colour": "red"}}',
        '{"item_id": "e", "title": "E", "created_at": {"$date": 5}}',
        '{"title": "F"}',
    ]
    items, bad = items_of(write(tmp_path, "items.jsonl", "\n".join(lines)))
    assert [item.item_id for item in items] == ["a", "7", "d", "e"]
    assert items[0].attributes == {"genre": "x", "tags": ["t"]}
    says = {row.line: row.message for row in bad}
    assert list(says) == [4, 5, 8]
    assert "is not JSON" in says[4]
    assert "one object a line" in says[5]
    assert says[8] == "item_id: is missing"


def test_parquet_with_a_struct_whole_number_ids_and_real_types(tmp_path):
    """Rows are numbered from 1; int ids become text, datetimes and decimals numbers, nulls are absent."""
    table = pa.table(
        {
            "item_id": [1, 2, None],
            "title": ["A", "B", "C"],
            "created_at": pa.array([datetime(1970, 1, 2, tzinfo=UTC), None, None], pa.timestamp("ns", "UTC")),
            "attributes": [{"genre": "x", "tags": ["t"]}, {"genre": None, "tags": None}, None],
            "year": pa.array([Decimal("1977.5"), None, None]),
            "seen_at": pa.array([datetime(1970, 1, 1), None, None], pa.timestamp("ms")),  # noqa: DTZ001
            "price": [1.0, 2.0, 3.0],
        }
    )
    path = tmp_path / "items.parquet"
    pq.write_table(table, path)
    items, bad = items_of(path)
    assert [item.item_id for item in items] == ["1", "2"]
    assert items[0].attributes == {"genre": "x", "tags": ["t"], "year": 1977.5, "seen_at": 0.0}
    assert [item.created_at for item in items] == [86_400.0, None]
    assert items[1].attributes == {}
    assert bad == [BadRow(str(path), 3, "item_id: is missing", "item_id")]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_columns_are_renamed_by_the_mapping(tmp_path, name):
    """{our name: theirs}, for fields and attributes alike; a mapped field no longer reads its own name."""
    row = {"sku": "1", "name": "A", "title": "wrong", "era": 1977}
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif name == "a.csv":
        write(tmp_path, name, "sku,name,title,era\n1,A,wrong,1977\n")
    else:
        write(tmp_path, name, orjson.dumps(row))
    items, bad = items_of(path, mapping={"item_id": "sku", "title": "name", "year": "era"})
    assert bad == []
    assert (items[0].item_id, items[0].title, items[0].attributes) == ("1", "A", {"year": 1977.0})


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_a_missing_column_names_itself_what_was_found_and_the_way_out(tmp_path, name):
    """The same for a column that the mapping promised."""
    path = tmp_path / name
    if name == "a.csv":
        write(tmp_path, name, "sku,title\n1,A\n")
    else:
        pq.write_table(pa.table({"sku": ["1"], "title": ["A"]}), path)
    with pytest.raises(BadInput, match=r"no column item_id; found: sku, title; .*--map item_id=sku") as wrong:
        items_of(path)
    assert wrong.value.field == "item_id"
    with pytest.raises(BadInput, match=r"no column code; found: sku, title; .*--map item_id=sku"):
        items_of(path, mapping={"item_id": "code"})
    with pytest.raises(BadInput, match="no column year"):
        items_of(path, mapping={"item_id": "sku", "year": "year"})


def test_items_need_a_title_or_a_text_column(tmp_path):
    """Either is enough."""
    with pytest.raises(BadInput, match="no column title or text"):
        items_of(write(tmp_path, "a.csv", "item_id\n1\n"))
    items, _ = items_of(write(tmp_path, "b.csv", "item_id,text\n1,t\n"))
    assert len(items) == 1


def test_mapping_and_paths_are_checked_before_anything_is_read(tmp_path):
    """The call itself fails, not the first batch: nothing of a good first file goes in before."""
    good = write(tmp_path, "a.csv", "item_id,title\n1,A\n")
    with pytest.raises(BadInput, match="--map sku=item_id: no such field; the fields are item_id, title"):
        read_items([good], DECLARED, Limits(), {"sku": "item_id"})
    with pytest.raises(BadInput, match="No such file"):
        read_items([good, tmp_path / "none.csv"], DECLARED, Limits())


def test_files_that_cannot_be_used_are_one_clear_line(tmp_path):
    """Folder, unknown format, empty, empty when unpacked, twice the same column."""
    cases = {
        tmp_path: "is a folder",
        write(tmp_path, "a.xlsx", "x"): "is a spreadsheet",
        write(tmp_path, "a.csv", ""): "is empty",
        write(tmp_path, "b.jsonl.gz", ""): "is empty",
        write(tmp_path, "c.csv", "item_id,title,title\n"): "more than one column title",
        write(tmp_path, "d.parquet", "not parquet"): "cannot be read",
    }
    for path, says in cases.items():
        with pytest.raises(BadInput, match=says) as wrong:
            items_of(path)
        assert str(path) in str(wrong.value)
        assert "\n" not in str(wrong.value)


def test_broken_gzip_is_named(tmp_path):
    """Not gzip at all, cut off, and damaged in the middle."""
    whole = gzip.compress(b"item_id,title\n" + b"".join(b"%d,title of %d\n" % (i, i * i) for i in range(5000)))
    damaged = whole[:3000] + bytes(byte ^ 255 for byte in whole[3000:3100]) + whole[3100:]
    for data in (b"item_id,title\n1,A\n", whole[:-2000], damaged):
        path = tmp_path / "a.csv.gz"
        path.write_bytes(data)
        with pytest.raises(BadInput, match="is broken"):
            items_of(path)


def test_a_line_that_does_not_end_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    """A file without line breaks is no table."""
    monkeypatch.setattr(packed_files, "LINE_CHARS", 1 << 20)
    with pytest.raises(BadInput, match="line 2 is longer than 1 MiB"):
        items_of(write(tmp_path, "a.jsonl", b'{"item_id":"1","title":"A"}\n' + b" " * (1 << 20) + b"x"))


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.parquet"])
def test_batches_drive_a_progress_bar(tmp_path, name):
    """At most `batch` rows each, bytes never fall, and end at the total of all files."""
    rows = [{"item_id": str(i), "title": f"title {i}"} for i in range(25)]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    elif name == "a.jsonl":
        write(tmp_path, name, b"\n".join(map(orjson.dumps, rows)))
    else:
        write(tmp_path, name, "item_id,title\n" + "".join(f"{r['item_id']},{r['title']}\n" for r in rows))
    path = tmp_path / name
    batches = list(read_items([path, path], DECLARED, Limits(), batch=10))
    assert [len(batch.records) for batch in batches] == [10, 10, 5, 10, 10, 5, 0]
    positions = [batch.bytes_read for batch in batches]
    assert positions == sorted(positions)
    assert positions[2] == path.stat().st_size
    assert {batch.bytes_total for batch in batches} == {positions[-1]} == {2 * path.stat().st_size}


def test_a_header_alone_is_no_error(tmp_path):
    """There is nothing to import, and nothing wrong."""
    assert items_of(write(tmp_path, "a.csv", "item_id,title\n")) == ([], [])


def test_what_recsys_embed_writes_is_read_back_as_it_was(tmp_path):
    """Truth values, days and moments, also those of 1970, keep their values and types."""
    declared: dict[str, AttributeType] = {**DECLARED, "stock": "boolean", "day": "date"}
    known = {"genre": "x", "tags": ["a|b", "c"], "year": 1.5, "seen_at": 5.25, "stock": False, "day": 86_400.0}
    items = [Item("1", "A", "", known, 0.0), Item("é", "B", "text", {"stock": True}, -86_400.0), Item("3", "C")]
    encoder = HashingEncoder(EncoderSpec(kind="hashing", dimension=16))
    with alone(tmp_path):
        todo = plan(tmp_path, items, encoder.fingerprint, declared)
        for rows in todo.todo:
            write_chunk(tmp_path, rows, encoder)
        todo.finish()
    read = [record for batch in read_items([tmp_path], declared, Limits()) for record in batch.records]
    by_id = {record.item_id: record for record in read}
    assert by_id.keys() == {item.item_id for item in items}
    for item in items:
        record = by_id[item.item_id]
        assert (record.title, record.text, record.created_at) == (item.title, item.text, item.created_at)
        assert record.attributes == item.attributes
