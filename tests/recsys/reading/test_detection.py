"""Files as people have them: what each is taken for, and what is refused in one line with the way out."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config.platform import AttributeType
from recsys.config.serving import Limits
from recsys.data.records import EventIn
from recsys.errors import BadInput
from recsys.reading.detection import detect
from recsys.reading.dialect import Condition, ReadOptions
from recsys.reading.readers import Reading, read_events, read_items

DECLARED: dict[str, AttributeType] = {"genres": "keyword[]", "year": "number", "language": "keyword"}
TYPES = ("view", "like", "cart", "purchase")


@pytest.fixture
def write(tmp_path: Path):
    def written(name: str, content: str | bytes, encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return written


def items(path: Path, **options):
    """Items, and what was refused and dropped."""
    batches = list(read_items([path], DECLARED, Limits(), ReadOptions(**options)))
    lost = [row for batch in batches for row in (*batch.bad_rows, *batch.dropped)]
    return [record for batch in batches for record in batch.records], lost


def titles(path: Path, **options) -> list[str]:
    records, lost = items(path, **options)
    assert lost == []
    return [record.title for record in records]


def events(path: Path, default_type: str | None = None, **options) -> Reading[EventIn]:
    return read_events([path], TYPES, Limits(), ReadOptions(**options), default_type=default_type)


ACCENTS = "item_id;title\r\n70;Café Müller\r\n71;Łódź\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_in_every_form(write, encoding):
    """With a byte order mark or without, one byte a letter or two."""
    assert titles(write("a.csv", ACCENTS, encoding)) == ["Café Müller", "Łódź"]


def test_accents_in_western_encodings_come_right(write):
    """Latin-1 and what Windows adds to it; in UTF-8 one broken byte costs its line alone."""
    assert titles(write("a.csv", "item_id;title\n1;Café Müller\n2;Plain\n", "latin-1")) == ["Café Müller", "Plain"]
    assert titles(write("b.csv", "item_id;title\n1;“Noël” 5 €\n", "cp1252")) == ["“Noël” 5 €"]
    broken = "item_id,title\n1,Café\n2,Noël\n".encode() + b"3,caf\xe9\n"
    records, lost = items(write("c.csv", broken))
    assert [record.title for record in records] == ["Café", "Noël"]
    assert [(row.line, "not UTF-8" in row.message) for row in lost] == [(4, True)]


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "gb18030"])
def test_other_scripts_in_old_encodings(write, encoding):
    """Enough text says which one it is; --encoding says it always."""
    word = {
        "cp1251": "Хороший фильм про любовь",
        "shift_jis": "東京の物語とやさしい人々",
        "gb18030": "中文字符测试电影故事",
    }[encoding]
    text = "item_id,title\n" + "".join(f"{n},{word} {n}\n" for n in range(30))
    assert titles(write("a.csv", text, encoding))[0] == f"{word} 0"
    assert titles(write("b.csv", f"item_id,title\n1,{word}\n", encoding), encoding=encoding) == [word]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::"])
def test_separators_are_found(write, separator):
    """Also where no column has a name that we know."""
    rows = [["code", "wording", "era"], ["a-1", "A film, long; or not", "1977"], ["a-2", "Another: one", "1999"]]
    quoted = '"' if separator != "::" else ""
    lines = [separator.join(f"{quoted}{cell}{quoted}" for cell in row) for row in rows]
    path = write("a.txt", "\n".join(lines))
    assert titles(path, mapping={"item_id": "code", "title": "wording"}) == ["A film, long; or not", "Another: one"]


def test_a_table_without_a_header_has_numbered_columns(write):
    """As MovieLens has them, with :: and in Latin-1; --no-header says it where cells do not."""
    path = write("movies.dat", "1::Café au Lait (1993)::Comedy\n2::Plain (1995)::Drama|War\n", "latin-1")
    assert (
        str(detect(path, ReadOptions())) == "a table in CP1252, cells separated by ::, without quotes, without a header"
    )
    with pytest.raises(BadInput, match=r"no column item_id, title or text; found: 1, 2, 3; .*--map item_id=COLUMN"):
        items(path)
    records, lost = items(path, mapping={"item_id": "1", "title": "2", "genres": "3"})
    assert lost == []
    assert [(r.item_id, r.title, r.attributes["genres"]) for r in records] == [
        ("1", "Café au Lait (1993)", ["Comedy"]),
        ("2", "Plain (1995)", ["Drama", "War"]),
    ]
    words = write("a.csv", "alpha,First\nbeta,Second\n")
    assert titles(words, header=False, mapping={"item_id": "1", "title": "2"}) == ["First", "Second"]


def test_quotes_are_ordinary_in_tables_that_do_not_use_them(write):
    """As IMDb's tab-separated files."""
    path = write("a.tsv", 'item_id\ttitle\n1\t"Rome" the series\n2\tA 5" disk\n3\tPlain\n')
    assert titles(path) == ['"Rome" the series', 'A 5" disk', "Plain"]


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: pa.compress(data, "zstd", asbytes=True)]
)
def test_packed_files_are_known_by_their_bytes(write, pack):
    """Whatever they are called."""
    assert titles(write("a.csv", pack(b"item_id,title\n1,A\n"))) == ["A"]
    assert titles(write("b.json", pack(b'[{"item_id": 1, "title": "A"}]'))) == ["A"]


def test_python_notation_is_told_with_the_way_out(write):
    """Single quotes are no JSON; the line that turns such a file is given."""
    path = write("a.jsonl", "{'item_id': 'sq-1', 'title': \"Rock 'n' roll\"}\n{'item_id': 'sq-2', 'title': 'x'}\n")
    with pytest.raises(BadInput, match=r"Python's notation, not JSON: its quotes are single; .*ast\.literal_eval"):
        items(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xlsx", b"PK\x03\x04zip", "is a spreadsheet or zip archive; save its sheet as CSV"),
        ("a.csv", b"\x00\x01\x02\x03binary\x00\x00", "no text"),
        ("a.json", b'[{"item_id": 1,', "is not JSON"),
        ("a.json", b"[1, 2]", "a JSON list without objects"),
        ("a.csv", b"\n\n", "is blank"),
        ("a.parquet", b"PAR1 and nothing more", "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(write, name, content, says):
    """Nothing of it goes in, and no library's words come out alone."""
    path = write(name, content)
    with pytest.raises(BadInput, match=says) as refused:
        items(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nested_fields_are_columns_and_what_is_not_used_is_said(write):
    """`outer.inner` can be mapped; undeclared columns are named once with their kinds."""
    rows = [
        {
            "sku": {"$oid": f"x{n}"},
            "name": {"en": f"Lamp {n}"},
            "brand": {"id": n % 3, "name": "Acme"},
            "price": "1,999",
            "new": True,
        }
        for n in range(9)
    ]
    path = write("a.jsonl", "\n".join(map(json.dumps, rows)))
    with pytest.raises(BadInput, match=r"found: sku\.\$oid, name\.en, brand\.id, brand\.name, price, new"):
        items(path)
    options = ReadOptions({"item_id": "sku.$oid", "title": "name.en", "language": "brand.name"})
    reading = read_items([path], DECLARED, Limits(), options)
    assert next(record.attributes for batch in reading for record in batch.records) == {"language": "Acme"}
    said = "\n".join(reading.summary())
    assert "item_id from sku.$oid" in said
    assert "not used: brand.id (number), price (number), new (boolean); declare what filters need" in said


def test_all_missing_columns_are_named_at_once_with_the_mapping_to_try(write):
    """By the names that people give them."""
    path = write("a.csv", "visitorid,event,itemid,ts\n1,view,5,1700000000\n")
    says = (
        r"no column user_id, item_id, type, timestamp; found: visitorid, event, itemid, ts; name the right one with "
        "--map user_id=visitorid --map item_id=itemid --map type=event --map timestamp=ts"
    )
    with pytest.raises(BadInput, match=says):
        events(path)


def test_events_without_times_get_them_by_what_is_said(write):
    """In the order of the rows, or now; the ids of the events stay, so that importing again changes nothing."""
    path = write("a.csv", "user_id,item_id,type\n1,50,like\n1,51,like\n2,50,view\n")
    with pytest.raises(BadInput, match=r"no column timestamp.*--default-time order"):
        events(path)
    ordered = [record for batch in events(path, default_time="order") for record in batch.records]
    times = [event.timestamp or 0.0 for event in ordered]
    assert times == sorted(times)
    assert len(set(times)) == 3
    assert times[-1] < path.stat().st_mtime
    at_once = [record for batch in events(path, default_time="now") for record in batch.records]
    assert [event.event_id for event in at_once] == [event.event_id for event in ordered]
    assert len({event.timestamp for event in at_once}) == 1


def test_types_are_mapped_and_rows_chosen(write):
    """--type-map gives theirs our names, --where keeps rows, also by a column that is not read otherwise."""
    path = write(
        "a.csv",
        "user_id,item_id,type,timestamp,clicked\n1,1,addtocart,1700000000123,1\n1,2,view,1700000000124,0\n"
        "1,3,transaction,1700000000125,true\n1,4,view,1700000000126,\n",
    )
    where = (Condition.parse("clicked=1"),)
    batches = list(events(path, type_map={"addtocart": "cart", "transaction": "purchase"}, where=where))
    read = [(event.item_id, event.type, event.timestamp) for batch in batches for event in batch.records]
    assert read == [("1", "cart", 1700000000.123), ("3", "purchase", 1700000000.125)]
    assert sum(batch.skipped for batch in batches) == 2
    [unmapped] = [row for batch in events(path, where=(Condition.parse("item_id = 1"),)) for row in batch.bad_rows]
    assert unmapped.field == "type"
    assert "--type-map" in unmapped.fix
    assert (
        len(
            [
                r
                for b in events(path, "view", where=(Condition.parse("item_id>=3"),), type_map={"transaction": "cart"})
                for r in b.records
            ]
        )
        == 2
    )


def test_text_is_made_of_several_columns(write):
    """Lists as words, missing ones left out, and the title not twice."""
    path = write("a.csv", "item_id,title,brand,tags,note\n1,Lamp,Acme,\"['red', 'small']\",\n2,Desk,,x,heavy\n")
    records, _ = items(path, text_from=("title", "brand", "tags", "note"))
    assert [(record.title, record.text) for record in records] == [("Lamp", "Acme. red, small"), ("Desk", "x. heavy")]


def test_a_bad_optional_value_does_not_cost_the_item(write):
    """Unless somebody says so: it is dropped, counted and told with its line."""
    path = write("a.csv", "item_id,title,year,created_at\n1,A,MCMXC,2020-01-01\n2,B,1999,2099-01-01\n3,C,—,\n")
    records, lost = items(path)
    assert [(record.item_id, record.attributes) for record in records] == [
        ("1", {}),
        ("2", {"year": 1999.0}),
        ("3", {}),
    ]
    assert [(row.line, row.field) for row in lost] == [(2, "attributes.year"), (3, "created_at")]
    assert "over a year ahead" in lost[1].message
    records, lost = items(path, bad_attributes="refuse")
    assert [record.item_id for record in records] == ["3"]
    assert [(row.line, row.field) for row in lost] == [(2, "attributes.year"), (3, "created_at")]


def test_ids_have_one_spelling(write):
    """Composed, trimmed; a column of floats is one of whole numbers; binary ids are text."""
    path = write(
        "a.csv", "user_id,item_id,type,timestamp\ncafe\u0301 ,50.0,like,1700000000\ncafé,51.0,like,1700000001\n"
    )
    reading = events(path)
    read = [(event.user_id, event.item_id) for batch in reading for event in batch.records]
    assert read == [("café", "50"), ("café", "51")]
    assert "item_id: 50.0 is read as 50" in "\n".join(reading.summary())
    table = write("b.parquet", b"")
    pq.write_table(pa.table({"item_id": pa.array([b"x1", "é".encode()], pa.binary()), "title": ["A", "B"]}), table)
    assert [record.item_id for record in items(table)[0]] == ["x1", "é"]


def test_options_that_make_no_sense_are_refused():
    """By their names."""
    for options, says in (
        ({"encoding": "utf-99"}, "--encoding utf-99: is not known"),
        ({"separator": ""}, "--separator"),
        ({"list_separator": " "}, "--list-separator"),
    ):
        with pytest.raises(BadInput, match=says):
            ReadOptions(**options)
    with pytest.raises(BadInput, match="--where clicked: write it as column=value"):
        Condition.parse("clicked")
    assert ReadOptions(separator="tab").separator == "\t"


@pytest.mark.parametrize(("odd", "refused"), [(b"\0", []), (b"\xff", [41])], ids=["NUL", "invalid byte"])
def test_a_line_that_the_detector_cannot_read_costs_no_other(write, odd, refused):
    """Of a table whose columns have no telling names the separator is what most cells need. A NUL is looked for in the
    first lines only.
    """
    rows = b"".join(b"%d;film, part %d\n" % (n, n) for n in range(40))
    path = write("a.csv", rows + b"40;film" + odd + b"\n")
    records, lost = items(path, encoding="utf-8", mapping={"item_id": "1", "title": "2"})
    assert [record.title for record in records[:40]] == [f"film, part {n}" for n in range(40)]
    assert [row.line for row in lost] == refused
