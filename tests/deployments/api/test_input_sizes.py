"""Very large and very wrong input over HTTP: it is counted before it is read, and the answer stays short."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.serving import Limits, Serving
from recsys.data.bounds import FIELDS, KEYWORDS, values_in
from tests.support.any_text import any_text
from tests.support.wrong_calls import ELEMENTS, JSON, call, wrong

MIB = 1 << 20


HOSTILE = {
    # what fills the eight megabytes: path, beginning, element, end
    "ids": ("/v1/recommendations", b'{"exclude":[', b'"a"', b"]}"),
    "numbers for ids": ("/v1/search", b'{"text":"a","exclude":[', b"0", b"]}"),
    "ids to rank": ("/v1/rank", b'{"items":[', b'"a"', b"]}"),
    "objects for ids": ("/v1/rank", b'{"items":[', b"{}", b"]}"),
    "empty events": ("/v1/events", b'{"events":[', b"{}", b"]}"),
    "nested lists for items": ("/v1/items", b'{"items":[', b'{"a":[[]]}', b"]}"),
    "conditions": ("/v1/recommendations", b'{"filter":{"must":[', b"{}", b"]}}"),
    "values of a condition": ("/v1/recommendations", b'{"filter":{"must":[{"key":"topic","any":[', b"0", b"]}]}}"),
    "fields of a body": ("/v1/recommendations", b'{"a":{', b'"b":[]', b"}}"),
    "attributes": ("/v1/items", b'{"items":[{"attributes":{', b'"\\u00e9\\\\":0', b"}}]}"),
    "keywords": ("/v1/items", b'{"items":[{"item_id":"a","title":"t","attributes":{"tags":[', b"0", b"]}}]}"),
}  # fmt: skip


async def test_eight_megabytes_of_wrong_values_are_counted_and_not_looked_at(make_http, subtests, monkeypatch):
    """Refused before they are parsed, so what they cost does not depend on what they are; the answer is short."""
    http, parsed, plain = await make_http(), list[int](), json.loads
    monkeypatch.setattr("deployments.api.routes.json.loads", lambda text: parsed.append(len(text)) or plain(text))
    for name, (path, begin, element, end) in HOSTILE.items():
        with subtests.test(name):
            parsed.clear()
            body = begin + (element + b",") * ((8 * MIB - 200) // (len(element) + 1) - 1) + element + end
            answer = await http.post(path, content=body, headers=JSON)
            assert parsed == []
            assert wrong(answer, "body", "too_large")
            assert len(answer.content) < 1000


async def test_as_many_wrong_values_as_are_parsed_get_a_short_answer(make_http, subtests):
    """Half a million of values, which is under the limit: what holds them is refused by its length."""
    http = await make_http()
    for name, (path, begin, element, end) in HOSTILE.items():
        with subtests.test(name):
            values = 1 + element.count(b"[") + element.count(b"{")
            body = begin + b",".join([element] * (Limits().bulk * 512 // values - 10)) + end
            answer = await http.post(path, content=body, headers=JSON)
            assert answer.status_code in (413, 422)
            assert len(answer.content) < 64_000
            assert len(answer.json().get("errors", ())) <= 20


async def test_a_thousand_wrong_elements_get_a_short_answer(make_http):
    """The first hundred of a bulk with their reasons, and the places of all; of other faults twenty, and how many."""
    http = await make_http(serving=Serving(budget_s=20))
    good = ELEMENTS["items"]
    bad = [{"item_id": "x", "title": "t", f"wrong{'x' * 200}{n}": "y" * 2000} for n in range(999)]
    answer = await call(http, "POST", "/v1/items", {"items": [good, *bad]})
    assert len(answer.content) < 64_000
    found = answer.json()
    assert (len(found["refused"]), found["refused_count"]) == (100, 999)
    assert found["refused_indexes"] == list(range(1, 1000))
    answer = await call(http, "POST", "/v1/rank", {"items": [5] * 1000})
    found = wrong(answer, "items[0]")
    assert (len(found["errors"]), found["error_count"]) == (20, 1000)
    assert len(answer.content) < 64_000
    many = {f"f{n}": 1 for n in range(1000)}
    for path, body in (
        ("/v1/rank", {"items": ["a"], **many}), ("/v1/recommendations", {"filter": many}),
        ("/v1/recommendations", {"filter": {"must": [{"key": "topic", "eq": 1, **many}]}}),
    ):  # fmt: skip
        assert "1" in wrong(await call(http, "POST", path, body))["detail"]
        assert len((await call(http, "POST", path, body)).content) < 2000
    answer = await call(http, "POST", "/v1/items", {"items": [good, {**good, **many}]})
    assert "has 1002 fields" in answer.json()["refused"][0]["message"]


async def test_the_largest_item_is_read_where_calls_hold_few(make_http):
    """All the lists that an item may have, with a limit of one element in a call: what is wrong is a name, no size."""
    http = await make_http(serving=Serving(budget_s=20, limits=Limits(bulk=1)))
    attributes = {"a" * (n + 1): ["x"] * KEYWORDS for n in range(FIELDS)}
    answer = await http.put("/v1/items/a", json={"title": "t", "text": "x", "attributes": attributes})
    wrong(answer, "attributes.a", "undeclared_attribute")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | any_text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(any_text(), inner, max_size=5),
    max_leaves=30,
)


def _counted(value: Any) -> int:
    """Separators and openings in its JSON."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return 1 + max(len(value) - 1, 0) + sum(map(_counted, inner))
    return 0


@given(json_values)
def test_values_are_counted_outside_of_strings(value):
    """Whatever strings and names hold: commas, brackets, quotes, backslashes."""
    for text in (orjson.dumps(value), json.dumps(value).encode()):
        assert values_in(text, 0) == _counted(value) + 1
