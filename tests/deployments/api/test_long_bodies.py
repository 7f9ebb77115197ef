"""Bodies of many items, which are parsed some at a time."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.api.long_bodies import LONG, parsed_in_parts
from tests.support.any_text import any_text
from tests.support.wrong_calls import JSON, wrong

plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_text(max_size=5))
values = st.recursive(plain, lambda some: st.lists(some, max_size=3) | st.dictionaries(any_text(max_size=3), some))


@given(st.one_of(st.lists(values, max_size=120).map(lambda items: {"items": items}), values), st.booleans())
def test_a_body_that_is_parsed_in_parts_says_what_it_says_as_a_whole(body, ascii_only):
    """Whatever it holds; one of anything but items is not taken."""
    text = json.dumps(body, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    parsed = asyncio.run(parsed_in_parts(text))
    if parsed is not None:
        assert json.dumps(parsed) == json.dumps(json.loads(text))
    elif isinstance(body, dict) and body.keys() == {"items"}:
        assert any(odd in text for odd in (b"NaN", b"Infinity", b"\\ud", b"\xed"))  # the standard library judges these


nested = st.sampled_from(["},{", "}, {", '"},{"', "]}", [{"x": 1}, {"y": [{}, {}]}], {"a": {}}, "\\", "plain"])
layouts = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}])


@given(st.lists(st.dictionaries(st.sampled_from("ab"), nested), min_size=20, max_size=90), layouts, st.data())
def test_what_looks_like_a_place_between_two_items_cuts_none(items, layout, data):
    """In a text, or in a list that an item has. Where a byte is missing or doubled it says what json says."""
    text = json.dumps({"items": items}, **layout).encode()
    assert asyncio.run(parsed_in_parts(text)) == {"items": items}
    at = data.draw(st.integers(0, len(text) - 1))
    for broken in (text[:at] + text[at + 1 :], text[:at] + text[at : at + 1] + text[at:]):
        parsed = asyncio.run(parsed_in_parts(broken))
        assert parsed is None or parsed == json.loads(broken)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"items": 5}', b'{"items": [1,]}', b'{"items": [], "more": 1}', b'{"items": ["\xff"]}', b"{"]
)
async def test_what_is_no_body_of_items_is_left_to_others(body):
    assert await parsed_in_parts(body) is None


async def test_other_work_goes_on_while_a_body_is_parsed():
    """At least once every fifty items."""
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(work())
    await parsed_in_parts(json.dumps({"items": [{"item_id": str(n)} for n in range(1000)]}).encode())
    assert turns >= 20
    beside.cancel()


async def test_a_long_body_is_answered_as_a_short_one(make_http):
    """Its items are written, and what is wrong with it is told."""
    http = await make_http()
    items = [{"item_id": f"long-{n}", "title": f"title {n}", "text": "words " * 100} for n in range(600)]
    good = json.dumps({"items": [*items, {"item_id": ""}]}).encode()
    assert len(good) > LONG
    answer = await http.post("/v1/items", content=good, headers=JSON)
    assert answer.status_code == 200
    assert (len(answer.json()["written"]), answer.json()["refused_count"]) == (600, 1)
    wrong(await http.post("/v1/items", content=good[:-1], headers=JSON), "body", "malformed_json")
    unknown = json.dumps({"items": items, "version": 3}).encode()
    assert (await http.post("/v1/items", content=unknown, headers=JSON)).status_code == 422
    many = json.dumps({"items": items * 2}).encode()
    assert "over the limit of 1000" in (await http.post("/v1/items", content=many, headers=JSON)).text
