"""`recsys inspect`, and from files as people have them to a version by following what the commands say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml

from tests.support.command import Recsys
from tests.support.shop import write_clicks, write_other_events, write_products

PRODUCTS = 60


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    write_products(tmp_path, PRODUCTS)
    write_clicks(tmp_path, PRODUCTS)
    return tmp_path


def test_people_read_what_files_hold_and_what_to_type(recsys: Recsys, shop: Path) -> None:
    """A table of the columns, what is odd, the attributes to declare, and the commands."""
    done = recsys("inspect", shop / "products.json", shop / "clicks.csv")
    assert done.code == 0
    assert done.err == ""
    for words in (
        "one JSON document in UTF-8, records under products; 60 rows",
        "a table in CP1252, cells separated by semicolons; 320 rows",
        "details.color",
        "the default model knows English",
        "100.0% name an item of the item files",
        "1000.0 is read as 1000",
        "details_price: number",
        "available: boolean",
        "--map item_id=sku --map title=name",
        "--type-map addtocart=like",
        "recsys up --config",
    ):
        assert words in done.out, words
    assert "Traceback" not in done.out


def test_json_has_all_that_people_read(recsys: Recsys, shop: Path) -> None:
    """One object a file."""
    products, clicks = recsys("inspect", shop / "clicks.csv", shop / "products.json", "--json").json
    assert (products["sort"], products["rows"], clicks["sort"], clicks["rows"]) == ("items", 60, "events", 320)
    assert products["attributes"]["available"] == "boolean"
    assert clicks["facts"]["join"]["share"] == 1.0


def test_a_shop_becomes_a_version_by_typing_what_is_proposed(recsys: Recsys, shop: Path, config: Path) -> None:
    """inspect, the attributes into the config file, the build as proposed: no row and no value is lost."""
    products, clicks = recsys("inspect", shop / "products.json", shop / "clicks.csv", "--json").json
    settings = yaml.safe_load(config.read_text())
    settings["applications"][0]["args"].setdefault("attributes", {}).update(products["attributes"])
    config.write_text(yaml.safe_dump(settings))
    build = shlex.split(products["command"])[1:]
    built = recsys(*build, "--json").json
    assert (built["items"], built["bad_rows"]) == (PRODUCTS, 0)
    events = shlex.split(clicks["command"])[3:]
    trained = recsys("train", *events, "--promote", "--json").json
    assert trained["bad_rows"] == 0
    assert trained["card"]["users"] == 40


def test_four_dialects_are_one_command(recsys: Recsys, shop: Path) -> None:
    """In the order in which it is to be typed: the catalogue is built, the platform started, the events are sent."""
    others = write_other_events(shop, PRODUCTS)
    done = recsys("inspect", shop / "products.json", shop / "clicks.csv", *others)
    build, up, events = (line.strip() for line in done.out.split("\nThen:\n")[1].splitlines())
    assert build.startswith(f"recsys build {shop}/products.json --map ")
    assert up.startswith("recsys up --config ")
    assert events.startswith(f"recsys import events {shop}/clicks.csv {' '.join(map(str, others))} --map ")
    sent = recsys(*shlex.split(events)[1:-2], "--dry-run", "--json").json
    assert (sent["bad_rows"], sent["read"]["events"]["taken"]) == (0, 40 * (8 + 1 + 3 + 1))


def test_commands_say_what_they_took_a_file_for(recsys: Recsys, shop: Path) -> None:
    """In two lines, before the bar ends: format and columns, and what is not read."""
    done = recsys("build", shop / "products.json", "--map", "item_id=sku", "--map", "title=name")
    assert done.code == 0
    said = [line for line in done.err.splitlines() if "products.json: one JSON document" in line]
    assert len(said) == 1
    assert "item_id from sku, title from name" in said[0]
    assert "not used: details.color (keyword), details.price (number)" in done.err
    assert "declare what filters need under args.attributes" in done.err


def test_options_that_make_no_sense_are_one_line(recsys: Recsys, shop: Path) -> None:
    """By their names, with the fix."""
    products = shop / "products.json"
    assert "--encoding utf-99: is not known" in recsys("build", products, "--encoding", "utf-99").error()
    assert "--where price: write it as column=value" in recsys("build", products, "--where", "price").error()
    assert "say --header or --no-header" in recsys("build", products, "--header", "--no-header").error()
    done = recsys("build", products, "--map", "sku")
    assert done.code == 2
    assert "write it as field=column" in done.err
