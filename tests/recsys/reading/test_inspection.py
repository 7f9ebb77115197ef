"""What is said of files before anything is done with them, and that the command which is proposed reads them."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pytest
from msgspec.structs import astuple

from recsys.config.serving import Limits, Serving
from recsys.errors import BadInput
from recsys.reading.dialect import ReadOptions
from recsys.reading.inspection import Configured, Inspection, inspect
from recsys.reading.languages import language_of, shares
from recsys.reading.proposals import type_map_of
from recsys.reading.readers import read_events, read_items

TYPES = Serving().event_types
KNOWN = Configured({}, TYPES)


def one(path: Path, known: Configured = KNOWN, **options) -> Inspection:
    [seen] = inspect([path], ReadOptions(**options), known)
    return seen


def said(command: str) -> dict[str, dict[str, str]]:
    """--map and --type-map of a command."""
    words = shlex.split(command)
    pairs = {"--map": {}, "--type-map": {}}
    for option, value in itertools.pairwise(words):
        if option in pairs:
            left, _, right = value.partition("=")
            pairs[option][left] = right
    return {"mapping": pairs["--map"], "type_map": pairs["--type-map"]}


def read_as(command: str) -> ReadOptions:
    """What a command says of files, several columns of a field included."""
    words = shlex.split(command)
    pairs: dict[str, dict[str, list[str]]] = {"--map": {}, "--type-map": {}}
    for option, value in itertools.pairwise(words):
        if option in pairs:
            left, _, right = value.partition("=")
            pairs[option].setdefault(left, []).append(right)
    return ReadOptions(
        mapping={name: first for name, (first, *_) in pairs["--map"].items()},
        also={name: others for name, (_, *others) in pairs["--map"].items()},
        type_map={name: last for name, (*_, last) in pairs["--type-map"].items()},
    )


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Products with nested fields, truth values, prices in words and three languages."""
    names = {"en": "A lamp for the desk and the wall", "de": "Eine Lampe für den Tisch und die Wand"}
    rows = [
        {
            "sku": f"p-{n}",
            "name": names["de" if n % 3 == 0 else "en"] + f" {n}",
            "details": {"color": "red" if n % 2 else "blue", "price": f"${n},{n % 900 + 100}.00" if n else "—"},
            "inStock": n % 4 > 0,
            "tags": ["home", "light"][: 1 + n % 2],
            "added": f"2024-0{n % 9 + 1}-11",
            "picture": f"https://shop.example/{n}.jpg",
        }
        for n in range(40)
    ]
    path = tmp_path / "products.json"
    path.write_text(json.dumps({"total": len(rows), "products": rows}))
    return path


def test_a_shop_is_read_by_the_command_that_is_proposed(shop: Path) -> None:
    """Columns by the names that people give them, attributes by their kinds, with the names that can be declared."""
    seen = one(shop)
    assert (seen.sort, seen.rows, seen.problem) == ("items", 40, "")
    assert seen.dialect == "one JSON document in UTF-8, records under products"
    assert {column.name: column.kind for column in seen.columns} == {
        "sku": "keyword",
        "name": "text",
        "details.color": "keyword",
        "details.price": "number",
        "inStock": "boolean",
        "tags": "keyword[]",
        "added": "date",
        "picture": "image",
    }
    [price] = [column for column in seen.columns if column.name == "details.price"]
    assert (price.missing, price.distinct) == (1 / 40, 39)  # the dash says that there is none
    assert price.examples[0] == "$1,101.00"
    assert seen.attributes == {
        "details_color": "keyword",
        "details_price": "number",
        "instock": "boolean",
        "tags": "keyword[]",
        "added": "date",
    }
    assert seen.command.startswith("recsys build ")
    options = ReadOptions(**said(seen.command))
    batches = list(read_items([shop], seen.attributes, Limits(), options))
    items = [record for batch in batches for record in batch.records]
    assert [row for batch in batches for row in (*batch.bad_rows, *batch.dropped)] == []
    assert items[1].title == "A lamp for the desk and the wall 1"
    assert items[1].attributes["details_price"] == 1101.0
    assert items[1].attributes["instock"] is True
    assert "details_price" not in items[0].attributes


def test_a_profile_of_items_counts_what_is_odd(tmp_path: Path) -> None:
    """Doubled ids, items that say the same, texts that are cut, languages, the span of times."""
    path = tmp_path / "items.csv"
    rows = [
        f"{n % 9},The story of the lamp and of the sea {n // 2},{'x ' * 600 if n == 3 else ''},2020-01-{n + 1:02}"
        for n in range(10)
    ]
    path.write_text("item_id,title,text,created_at\n" + "\n".join(rows))
    facts = one(path).facts
    assert (facts["items"], facts["doubled_ids"], facts["without_id"]) == (9, 1, 0)
    assert facts["equal_texts"] == 4
    assert facts["cut_texts"] == 0.1
    assert facts["languages"] == {"English": 1.0}
    assert (facts["created_from"][:10], facts["created_to"][:10]) == ("2020-01-01", "2020-01-10")


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
    batches = list(read_events([events], TYPES, Limits(), ReadOptions(**said(of_events.command))))
    assert sum(len(batch.bad_rows) for batch in batches) == 0


def test_a_dash_among_prices_is_no_price(tmp_path: Path) -> None:
    """Also where other words stand among them, and where a declaration says that they are numbers or words."""
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,price\n1,A,12.50 \u20ac\n2,B,\u2014\n3,C,on request\n4,D,7.00 \u20ac\n")

    def price(**declared: str) -> tuple[float, int]:
        [column] = [column for column in one(path, Configured(declared, TYPES)).columns if column.name == "price"]
        return column.missing, column.distinct

    assert price() == (1 / 4, 3)
    assert price(price="number") == (1 / 4, 3)
    assert price(price="keyword") == (0, 4)
    path.write_text("item_id,title,price\n1,A,ask\n2,B,\u2014\n3,C,on request\n")
    assert price() == (0, 3)
    assert price(price="number") == (1 / 3, 2)


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
    read = read_events([events], TYPES, Limits(), ReadOptions(**said(of_events.command)))
    assert {(e.user_id, e.item_id, e.type) for batch in read for e in batch.records} == {
        ("\u00fc", "Jos\u00e9", "purchase"), ("u", "b", "purchase"),
    }  # fmt: skip


def test_a_type_is_mapped_to_the_one_that_is_part_of_its_name() -> None:
    """Before any other of the same meaning, whatever the order in the config file."""
    configured = {name: TYPES[name] for name in ("click", "view", "purchase")}
    assert type_map_of({"pageview": 1, "Purchase": 1, "tap": 1, "odd": 1}, configured) == {
        "pageview": "view",
        "Purchase": "purchase",
        "tap": "click",
    }


def test_float_ids_join_the_items_that_they_mean(tmp_path: Path) -> None:
    """50.0 of a column of floats is the item 50."""
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("item_id,title\n50,Lamp\n51,Desk\n")
    events.write_text("user_id,item_id,type,timestamp\n1.0,50.0,like,1700000000\n2.0,51.0,like,1700000001\n")
    _, seen = inspect([items, events], ReadOptions(), KNOWN)
    assert seen.facts["join"]["share"] == 1.0
    assert "item_id: 50.0 is read as 50" in seen.notes


def test_files_without_a_header_are_guessed_by_what_cells_hold(tmp_path: Path) -> None:
    """MovieLens, both its files; and what is no table of ours says so."""
    films, ratings = tmp_path / "movies.dat", tmp_path / "ratings.dat"
    films.write_bytes("1::Café au Lait (1993)::Comedy\n2::Plain (1995)::Drama|War\n".encode("latin-1"))
    ratings.write_text("1::1::5::978300760\n1::2::3::978302109\n2::1::4::978301968\n")
    seen = one(films)
    assert said(seen.command)["mapping"] == {"item_id": "1", "title": "2", "column_3": "3"}
    assert seen.attributes == {"column_3": "keyword[]"}
    seen = one(ratings)
    assert said(seen.command)["mapping"] == {"user_id": "1", "item_id": "2", "timestamp": "4", "value": "3"}
    assert "--type rating" in seen.command
    stars = tmp_path / "stars.csv"
    stars.write_text("user,dish_id,stars\n1,9,4\n2,8,5\n")
    assert said(one(stars).command)["mapping"] == {"user_id": "user", "value": "stars", "item_id": "dish_id"}
    other = tmp_path / "weather.csv"
    other.write_text("town,degrees\nBern,12\nKyiv,9\n")
    assert one(other).problem.startswith("no column is known")


def test_the_worst_rows_are_shown_by_reason(tmp_path: Path) -> None:
    """As reading them would refuse them, or drop a value."""
    path = tmp_path / "items.csv"
    path.write_text(
        "item_id,title,year\n1,A,1999\n2,,2000\n3,,\n4,B,MCMXC\n" + "".join(f"{n},C,200{n}\n" for n in range(5, 9))
    )
    seen = one(path, Configured({"year": "number"}, TYPES))
    assert seen.facts["read"] == {"rows": 8, "refused": 2, "dropped_values": 1}
    assert [row.split(": ", 1)[0].rpartition(":")[2] for row in seen.worst] == ["3", "5"]
    assert "(2 such)" in seen.worst[0]


def test_files_without_rows_and_folders_of_nothing(tmp_path: Path) -> None:
    """A header alone is looked at; what is missing is refused."""
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\n")
    assert one(path).rows == 0
    with pytest.raises(BadInput, match="No such file"):
        one(tmp_path / "none.csv")


def test_what_says_that_there_is_no_value_is_missing(tmp_path: Path) -> None:
    """In columns of numbers, times and truth values, as it is read; a word is a word, and an id an id."""
    path = tmp_path / "items.csv"
    rows = ["1,A lamp,—,N/A,2020-01-01,unknown", "-,A desk,7,,null,red", "3,A chair,9,yes,?,red", "4,A bed,,no,-,blue"]
    path.write_text("item_id,title,price,sold,created_at,color\n" + "\n".join(rows))
    seen = one(path)
    missing = {column.name: column.missing for column in seen.columns}
    assert missing == {"item_id": 0, "title": 0, "price": 0.5, "sold": 0.5, "created_at": 0.75, "color": 0}
    assert seen.facts["with_created_at"] == 0.25


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
    alone = [one(path, KNOWN) for path in paths]
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


def test_languages_are_told_roughly() -> None:
    """By script, or by the small words of every sentence; a name says nothing."""
    assert language_of("The lamp is on the table by the window") == "English"
    assert language_of("Die Lampe steht auf dem Tisch und ist nicht an") == "German"
    assert language_of("東京の物語") == "Chinese or Japanese"
    assert language_of("Лампа на столе") == "Cyrillic"
    assert language_of("Lamp") is None
    assert shares(["The cat of the house", "Lamp", "Der Hund und die Katze"]) == {"English": 0.5, "German": 0.5}


@pytest.mark.parametrize("odd", ["²", "9" * 400], ids=["a power", "more digits than a number has"])
def test_what_only_looks_like_a_number_is_no_time(tmp_path: Path, odd: str) -> None:
    """In a file without a header, whose last column could be times."""
    file = tmp_path / "events.csv"
    file.write_text("".join(f"user{n},item{n % 7},{odd}\n" for n in range(30)))
    assert "timestamp" not in said(one(file).command)["mapping"]
