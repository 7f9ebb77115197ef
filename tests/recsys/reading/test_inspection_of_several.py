"""What is said of several files beside each other: what joins them, and one command for those of one sort."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import astuple

from recsys.config.serving import Limits
from recsys.errors import BadInput
from recsys.reading.dialect import ReadOptions
from recsys.reading.inspection import Configured, inspect
from recsys.reading.readers import read_events, read_items
from tests.support.inspected import KNOWN, TYPES, inspected, read_as


def test_events_are_profiled_and_joined_with_the_items_beside_them(tmp_path: Path) -> None:
    """Types, span, ties, repeated ones, the largest user, how many name an item; types are mapped by words."""
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("item_id,title\n" + "".join(f"{n},Lamp {n}\n" for n in range(50, 54)))
    rows = ["1,50,view,1700000000123", "1,51,addtocart,1700000000123", "1,51,addtocart,1700000000123"]
    rows += ["2,52,transaction,1700000001123", "2,99,view,1700000002123"]
    events.write_text("visitorid,itemid,event,timestamp\n" + "\n".join(rows))
    of_items, of_events = inspect([events, items], ReadOptions(), KNOWN)
    assert (of_items.sort, of_events.sort) == ("items", "events")
    facts = of_events.facts
    assert facts["types"] == {"view": 2, "addtocart": 2, "transaction": 1}
    assert (facts["users"], facts["items"], facts["tied"], facts["repeated"]) == (2, 4, 0.6, 1)
    assert facts["largest_user"] == {"user_id": "1", "events": 3, "share": 0.6}
    assert facts["join"] == {"share": 0.8, "examples_without": ["99"]}
    assert facts["times_from"] == "2023-11-14T22:13:20+00:00"
    assert any("milliseconds" in note for note in of_events.notes)
    assert "--type-map addtocart=like --type-map transaction=purchase" in of_events.command
    batches = list(read_events([events], TYPES, Limits(), read_as(of_events.command)))
    assert sum(len(batch.bad_rows) for batch in batches) == 0


def test_two_spellings_of_one_id_count_once(tmp_path: Path) -> None:
    """As the commands read them: `é` as one character equals `e` with a combining accent. So of types and keywords."""
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("item_id,title,maker\nJos\u00e9,A lamp,Caf\u00e9\nJose\u0301,The lamp,Cafe\u0301\nb,A chair,x\n")
    rows = [
        f"{user},{item},ach\u00e9t,1700000000" for user, item in (("\u00fc", "Jose\u0301"), ("u\u0308", "Jos\u00e9"))
    ]
    events.write_text("user_id,item_id,type,timestamp\n" + "\n".join([*rows, "u,b,ache\u0301t,1700000000"]))
    known = Configured({"maker": "keyword"}, TYPES)
    of_items, of_events = inspect([items, events], ReadOptions(type_map={"ache\u0301t": "purchase"}), known)
    distinct = {column.name: column.distinct for one in (of_items, of_events) for column in one.columns}
    assert (distinct["maker"], distinct["user_id"], distinct["item_id"]) == (2, 2, 2)
    assert {column.name: column.distinct for column in of_items.columns}["item_id"] == 2
    assert (of_items.facts["items"], of_items.facts["doubled_ids"]) == (2, 1)
    facts = of_events.facts
    assert (facts["users"], facts["items"], facts["repeated"], facts["types"]) == (2, 2, 1, {"ach\u00e9t": 3})
    assert facts["join"]["share"] == 1.0
    read = read_events([events], TYPES, Limits(), read_as(of_events.command))
    assert {(e.user_id, e.item_id, e.type) for batch in read for e in batch.records} == {
        ("\u00fc", "Jos\u00e9", "purchase"), ("u", "b", "purchase"),
    }  # fmt: skip


def test_float_ids_join_the_items_that_they_mean(tmp_path: Path) -> None:
    """50.0 of a column of floats is the item 50."""
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("item_id,title\n50,Lamp\n51,Desk\n")
    events.write_text("user_id,item_id,type,timestamp\n1.0,50.0,like,1700000000\n2.0,51.0,like,1700000001\n")
    _, seen = inspect([items, events], ReadOptions(), KNOWN)
    assert seen.facts["join"]["share"] == 1.0
    assert "item_id: 50.0 is read as 50" in seen.notes


def test_files_of_one_sort_are_read_by_one_command(tmp_path: Path) -> None:
    """Each by its own columns, where that can be said at once; the files come out as each for itself."""
    clicks, orders, plain = tmp_path / "clicks.csv", tmp_path / "orders.jsonl", tmp_path / "plain.csv"
    clicks.write_text("visitor;product;event;when\nu1;50;view;1700000000123\nu2;51;addtocart;1700000001123\n")
    orders.write_text(
        '{"customer": {"id": "u1"}, "sku": 50, "action": "transaction", "time": "2023-11-15T10:00:00Z"}\n'
        '{"customer": {"id": "u3"}, "sku": 52, "action": "transaction", "time": "2023-11-15T11:00:00Z"}\n'
    )
    plain.write_text("user_id,item_id,type,timestamp,value\nu1,53,rating,1700000000,5\nu4,52,rating,1700000007,2\n")
    paths = [clicks, orders, plain]
    alone = [inspected(path, KNOWN) for path in paths]
    together = inspect(paths, ReadOptions(), KNOWN)
    [command] = {seen.command for seen in together}
    assert command.startswith(f"recsys import events {clicks} {orders} {plain} --map ")

    def events(files: list[Path], words: str) -> list[tuple]:
        batches = read_events(files, TYPES, Limits(), read_as(words))
        return [astuple(record) for batch in batches for record in batch.records]

    assert len(events(paths, command)) == 6
    assert events(paths, command) == [
        row for path, seen in zip(paths, alone, strict=True) for row in events([path], seen.command)
    ]


def test_files_that_no_one_command_reads_have_their_own(tmp_path: Path) -> None:
    """Events with a type and without, one type with two meanings; a second catalogue is sent, and does not replace."""
    typed, bare = tmp_path / "typed.csv", tmp_path / "bare.csv"
    typed.write_text("user_id,item_id,type,timestamp\nu1,50,view,1700000000\n")
    bare.write_text("user,sku,time\nu1,50,1700000000\n")
    first, second = inspect([typed, bare], ReadOptions(), KNOWN)
    assert first.command == f"recsys import events {typed}"
    assert second.command.endswith("--type like")
    one_way, other_way = tmp_path / "one.csv", tmp_path / "other.csv"
    one_way.write_text("item_id,title,name\n1,Lamp,x\n2,Desk,y\n")
    other_way.write_text("sku,name\n3,Chair\n4,Bed\n")
    assert [seen.command.split()[1:3] for seen in inspect([one_way, other_way], ReadOptions(), KNOWN)] == [
        ["build", str(one_way)],
        ["build", str(one_way)],
    ]
    options = ReadOptions(mapping={"title": "name"})
    assert "--map title=name" in inspect([one_way, other_way], options, KNOWN)[1].command


def test_a_column_that_is_named_and_in_no_file_is_told(tmp_path: Path) -> None:
    """One that a single of several files lacks is not: it is read without."""
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    first.write_text("item_id,title,released\n1,Lamp,1999\n")
    second.write_text("item_id,title\n2,Desk\n")
    declared = {"year": "number"}
    batches = read_items([first, second], declared, Limits(), ReadOptions({"year": "released"}))
    assert [record.attributes for batch in batches for record in batch.records] == [{"year": 1999.0}, {}]
    with pytest.raises(BadInput, match="has no column relesed; found: item_id, title, released"):
        read_items([first, second], declared, Limits(), ReadOptions({"year": "relesed"}))
    with pytest.raises(BadInput, match="has no column released"):
        read_items([second], declared, Limits(), ReadOptions({"year": "released"}))
