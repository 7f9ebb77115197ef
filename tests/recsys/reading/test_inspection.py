"""What is said of files before anything is done with them, and that the command which is proposed reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recsys.config.serving import Limits
from recsys.errors import BadInput
from recsys.reading.inspection import Configured
from recsys.reading.proposals import type_map_of
from recsys.reading.readers import read_items
from tests.support.inspected import TYPES, inspected, read_as


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Products with nested fields, truth values, prices in words and two languages."""
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
    seen = inspected(shop)
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
    options = read_as(seen.command)
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
    facts = inspected(path).facts
    assert (facts["items"], facts["doubled_ids"], facts["without_id"]) == (9, 1, 0)
    assert facts["equal_texts"] == 4
    assert facts["cut_texts"] == 0.1
    assert facts["languages"] == {"English": 1.0}
    assert (facts["created_from"][:10], facts["created_to"][:10]) == ("2020-01-01", "2020-01-10")


def test_a_dash_among_prices_is_no_price(tmp_path: Path) -> None:
    """Also where other words stand among them, and where a declaration says that they are numbers or words."""
    path = tmp_path / "items.csv"
    path.write_text("item_id,title,price\n1,A,12.50 \u20ac\n2,B,\u2014\n3,C,on request\n4,D,7.00 \u20ac\n")

    def price(**declared: str) -> tuple[float, int]:
        [column] = [column for column in inspected(path, Configured(declared, TYPES)).columns if column.name == "price"]
        return column.missing, column.distinct

    assert price() == (1 / 4, 3)
    assert price(price="number") == (1 / 4, 3)
    assert price(price="keyword") == (0, 4)
    path.write_text("item_id,title,price\n1,A,ask\n2,B,\u2014\n3,C,on request\n")
    assert price() == (0, 3)
    assert price(price="number") == (1 / 3, 2)


def test_a_type_is_mapped_to_the_one_that_is_part_of_its_name() -> None:
    """Before any other of the same meaning, whatever the order in the config file."""
    configured = {name: TYPES[name] for name in ("click", "view", "purchase")}
    assert type_map_of({"pageview": 1, "Purchase": 1, "tap": 1, "odd": 1}, configured) == {
        "pageview": "view",
        "Purchase": "purchase",
        "tap": "click",
    }


def test_files_without_a_header_are_guessed_by_what_cells_hold(tmp_path: Path) -> None:
    """MovieLens, both its files; and what is no table of ours says so."""
    films, ratings = tmp_path / "movies.dat", tmp_path / "ratings.dat"
    films.write_bytes("1::Café au Lait (1993)::Comedy\n2::Plain (1995)::Drama|War\n".encode("latin-1"))
    ratings.write_text("1::1::5::978300760\n1::2::3::978302109\n2::1::4::978301968\n")
    seen = inspected(films)
    assert read_as(seen.command).mapping == {"item_id": "1", "title": "2", "column_3": "3"}
    assert seen.attributes == {"column_3": "keyword[]"}
    seen = inspected(ratings)
    assert read_as(seen.command).mapping == {"user_id": "1", "item_id": "2", "timestamp": "4", "value": "3"}
    assert "--type rating" in seen.command
    stars = tmp_path / "stars.csv"
    stars.write_text("user,dish_id,stars\n1,9,4\n2,8,5\n")
    assert read_as(inspected(stars).command).mapping == {"user_id": "user", "value": "stars", "item_id": "dish_id"}
    other = tmp_path / "weather.csv"
    other.write_text("town,degrees\nBern,12\nKyiv,9\n")
    assert inspected(other).problem.startswith("no column is known")


def test_the_worst_rows_are_shown_by_reason(tmp_path: Path) -> None:
    """As reading them would refuse them, or drop a value."""
    path = tmp_path / "items.csv"
    path.write_text(
        "item_id,title,year\n1,A,1999\n2,,2000\n3,,\n4,B,MCMXC\n" + "".join(f"{n},C,200{n}\n" for n in range(5, 9))
    )
    seen = inspected(path, Configured({"year": "number"}, TYPES))
    assert seen.facts["read"] == {"rows": 8, "refused": 2, "dropped_values": 1}
    assert [row.split(": ", 1)[0].rpartition(":")[2] for row in seen.worst] == ["3", "5"]
    assert "(2 such)" in seen.worst[0]


def test_files_without_rows_and_folders_of_nothing(tmp_path: Path) -> None:
    """A header alone is looked at; what is missing is refused."""
    path = tmp_path / "items.csv"
    path.write_text("item_id,title\n")
    assert inspected(path).rows == 0
    with pytest.raises(BadInput, match="No such file"):
        inspected(tmp_path / "none.csv")


def test_what_says_that_there_is_no_value_is_missing(tmp_path: Path) -> None:
    """In columns of numbers, times and truth values, as it is read; a word is a word, and an id an id."""
    path = tmp_path / "items.csv"
    rows = ["1,A lamp,—,N/A,2020-01-01,unknown", "-,A desk,7,,null,red", "3,A chair,9,yes,?,red", "4,A bed,,no,-,blue"]
    path.write_text("item_id,title,price,sold,created_at,color\n" + "\n".join(rows))
    seen = inspected(path)
    missing = {column.name: column.missing for column in seen.columns}
    assert missing == {"item_id": 0, "title": 0, "price": 0.5, "sold": 0.5, "created_at": 0.75, "color": 0}
    assert seen.facts["with_created_at"] == 0.25


@pytest.mark.parametrize("odd", ["²", "9" * 400], ids=["a power", "more digits than a number has"])
def test_what_only_looks_like_a_number_is_no_time(tmp_path: Path, odd: str) -> None:
    """In a file without a header, whose last column could be times."""
    file = tmp_path / "events.csv"
    file.write_text("".join(f"user{n},item{n % 7},{odd}\n" for n in range(30)))
    assert "timestamp" not in read_as(inspected(file).command).mapping
