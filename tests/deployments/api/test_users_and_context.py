"""Over HTTP: attributes of users, the context of a read, baskets that are not stored, and users who are merged."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config.serving import Serving
from recsys.data.filters import FilterIn, compile_filter
from recsys.data.references import refers, resolved
from recsys.datatypes import Item
from tests.support.world import event

DECLARED: dict[str, Any] = {
    "user_attributes": {"country": "keyword", "likes": "keyword[]", "age": "number", "vip": "boolean"},
    "context": {"device": "keyword", "hour": "number"},
}
MINE = {"must": [{"key": "topic", "eq": {"user": "country"}}]}
NOW_AND_HERE = {"must": [{"key": "topic", "any": [{"context": "device"}, "sea"]}]}


async def shown(http: httpx.AsyncClient, **body: Any) -> set[str]:
    answer = await http.post("/v1/recommendations", json={"k": 48, **body})
    assert answer.status_code == 200, answer.text
    return {item["item_id"].partition("-")[0] for item in answer.json()["items"]}


async def test_attributes_of_a_user_are_stored_changed_and_erased(make_http) -> None:
    """PUT replaces all, PATCH some, null takes one away; erasing the user takes them all."""
    http = await make_http(**DECLARED)

    async def known() -> dict[str, Any]:
        return (await http.get("/v1/users/ann")).json()["attributes"]

    assert await known() == {}
    put = await http.put("/v1/users/ann", json={"attributes": {"country": "sea", "age": 30, "vip": True}})
    assert put.json() == {"user_id": "ann", "attributes": {"country": "sea", "age": 30.0, "vip": True}}
    await http.patch("/v1/users/ann", json={"attributes": {"age": None, "likes": ["a", "b"]}})
    assert await known() == {"country": "sea", "vip": True, "likes": ["a", "b"]}
    await http.put("/v1/users/ann", json={"attributes": {"age": 31}})
    assert await known() == {"age": 31.0}
    await http.delete("/v1/users/ann")
    assert await known() == {}


MISFITS: list[tuple[str, str, dict[str, Any], str]] = [
        ("PUT", "/v1/users/ann", {"attributes": {"colour": "red"}}, "attributes.colour"),
        ("PATCH", "/v1/users/ann", {"attributes": {"age": "old"}}, "attributes.age"),
        ("POST", "/v1/recommendations", {"context": {"colour": "red"}}, "context.colour"),
        ("POST", "/v1/recommendations", {"context": {"hour": "late"}}, "context.hour"),
        ("POST", "/v1/recommendations", {"filter": {"must": [{"key": "topic", "eq": {"user": "colour"}}]}},
         "filter.must[0].topic"),
        ("POST", "/v1/recommendations", {"filter": {"must": [{"key": "topic", "eq": {"user": "age"}}]}},
         "filter.must[0].topic"),
        ("POST", "/v1/recommendations", {"filter": {"must": [{"key": "topic", "eq": {"shop": "age"}}]}},
         "filter.must[0].eq"),
        ("POST", "/v1/recommendations", {"filter": {"must": [{"key": "number", "gt": {"user": "age"}}]}},
         "filter.must[0].number"),
        ("POST", "/v1/recommendations", {"events": [{"item_id": "sea-1", "type": "sniff"}]}, "events[0].type"),
        ("POST", "/v1/recommendations", {"events": [{"item_id": "sea-1"}] * 51}, "events"),
        ("POST", "/v1/users/ann/merge", {"from_user": "ann"}, "from_user"),
    ]  # fmt: skip
"""Method, path, body, and the field that is refused."""


async def test_what_is_not_declared_or_does_not_fit_is_refused_by_its_field(make_http, subtests) -> None:
    http = await make_http(**DECLARED)
    for method, path, body, field in MISFITS:
        with subtests.test(path, field=field):
            answer = await http.request(method, path, json=body)
            assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text


async def test_a_filter_compares_items_with_the_user_and_the_moment(make_http) -> None:
    """Of a request, of a scenario and of a rule; what is not known equals nothing."""
    http = await make_http(**DECLARED)
    await http.put("/v1/users/ann", json={"attributes": {"country": "forest"}})
    assert await shown(http, user_id="ann", filter=MINE) == {"forest"}
    assert await shown(http, user_id="bob", filter=MINE) == set()
    assert await shown(http, filter=MINE) == set()
    assert await shown(http, filter=NOW_AND_HERE, context={"device": "kitchen"}) == {"kitchen", "sea"}
    assert await shown(http, filter=NOW_AND_HERE) == {"sea"}
    answer = await http.get(
        "/v1/users/ann/recommendations",
        params={"filter": '{"must": [{"key": "topic", "eq": {"context": "device"}}]}', "context": '{"device": "sea"}'},
    )
    assert {item["item_id"].partition("-")[0] for item in answer.json()["items"]} == {"sea"}
    boost = {"name": "near", "kind": "boost", "weight": 90, "filter": MINE}
    edit = {"scenarios": {"home": {"rules": [boost]}, "near": {"filter": MINE}}}
    assert (await http.patch("/v1/admin/scenarios", json=edit)).status_code == 200
    assert await shown(http, user_id="ann", k=5, diversity=0) == {"forest"}
    assert await shown(http, user_id="ann", scenario="near") == {"forest"}
    assert await shown(http, user_id="bob", scenario="near") == set()


async def test_what_is_not_known_of_a_user_is_named(make_http) -> None:
    """Where `must` or `should` compares with it, for then nothing matches; and not where the attribute is known."""
    http = await make_http(**DECLARED)
    await http.put("/v1/users/ann", json={"attributes": {"country": "forest"}})

    async def notes(**body: Any) -> list[str]:
        return list((await http.post("/v1/recommendations", json=body)).json().get("notes", []))

    assert await notes(user_id="ann", filter=MINE, k=3) == []
    assert await notes(user_id="bob", filter=MINE) == ["unknown:user.country", "filter_matches_nothing"]
    assert await notes(filter=MINE) == ["unknown:user.country", "filter_matches_nothing"]
    assert await notes(filter=NOW_AND_HERE, k=3) == ["unknown:context.device"]
    without = {"must_not": [{"key": "topic", "eq": {"user": "country"}}]}
    assert await notes(user_id="bob", filter=without, k=3) == []


@pytest.mark.parametrize("path", ["/v1/users/ann/recommendations", "/v1/items/forest-0/similar"])
async def test_a_get_takes_context_rules_and_a_basket(make_http, path) -> None:
    """As JSON in the query string: they do what they do in a body, and are refused by the same fields."""
    http = await make_http(**DECLARED)

    async def items(**given: Any) -> list[str]:
        answer = await http.get(path, params={"k": 5, **{name: json.dumps(one) for name, one in given.items()}})
        assert answer.status_code == 200, answer.text
        return [item["item_id"] for item in answer.json()["items"]]

    pin = {"name": "first", "kind": "pin", "position": 1, "filter": {"must": [{"key": "item_id", "eq": "sea-3"}]}}
    assert (await items(rules=[pin]))[0] == "sea-3"
    here = {"must": [{"key": "topic", "eq": {"context": "device"}}]}
    assert {i.partition("-")[0] for i in await items(filter=here, context={"device": "kitchen"})} == {"kitchen"}
    plain = await items()
    assert plain[0] not in await items(events=[{"item_id": plain[0], "type": "like"}])
    for wrong, field in {
        "rules": ([{"name": "a", "kind": "pin"}], "rules[0]"),
        "events": ([{"item_id": "a", "type": "sniff"}], "events[0].type"),
        "context": ({"colour": 1}, "context.colour"),
    }.items():
        for text, told in ((json.dumps(field[0]), field[1]), ("{", wrong)):
            answer = await http.get(path, params={wrong: text})
            assert (answer.status_code, answer.json()["field"]) == (422, told), answer.text


async def test_a_basket_counts_for_one_answer_and_is_not_stored(make_http) -> None:
    """The answer is the one that a user with those events gets; afterwards nothing of them is left."""
    http = await make_http(serving=Serving(budget_s=20))
    basket = [{"item_id": "sea-1", "type": "like"}, {"item_id": "sea-2", "type": "purchase"}]
    await http.world.gateway.record([event("sailor", "sea-1"), event("sailor", "sea-2", type="purchase")])
    await http.world.counted()

    async def slate(**body: Any) -> list[tuple[str, float]]:
        answer = (await http.post("/v1/recommendations", json={"k": 20, **body})).json()
        assert answer["degraded"] == []
        items = answer["items"]
        return [(item["item_id"], round(item["score"], 4)) for item in items]

    mine = await slate(events=basket)
    assert [i for i, _ in mine] == [i for i, _ in await slate(user_id="sailor")]
    assert {"sea-1", "sea-2"}.isdisjoint(i for i, _ in mine)
    before = await slate(user_id="stranger")
    assert await slate(user_id="stranger", events=basket) != before
    assert await slate(user_id="stranger") == before
    assert (await http.get("/v1/users/stranger")).json()["events"] == 0


async def test_a_merged_user_has_the_events_of_both_and_the_other_one_is_forgotten(make_http) -> None:
    """What the user said of itself stays; the same call again changes nothing."""
    http = await make_http(**DECLARED)
    await http.world.gateway.record([event("visitor", "sea-1"), event("visitor", "sea-2"), event("ann", "forest-1")])
    await http.put("/v1/users/visitor", json={"attributes": {"country": "sea", "age": 20}})
    await http.put("/v1/users/ann", json={"attributes": {"country": "forest"}})
    answer = await http.post("/v1/users/ann/merge", json={"from_user": "visitor"})
    told = {"user_id": "ann", "from_user": "visitor", "accepted": 2, "duplicates": 0, "too_old": 0}
    assert (answer.status_code, answer.json()) == (200, told)
    ann = (await http.get("/v1/users/ann")).json()
    assert [one["item_id"] for one in ann["history"]] == ["forest-1", "sea-2", "sea-1"]
    assert ann["attributes"] == {"country": "forest", "age": 20.0}
    visitor = (await http.get("/v1/users/visitor")).json()
    assert (visitor["events"], visitor["attributes"]) == (0, {})
    again = (await http.post("/v1/users/ann/merge", json={"from_user": "visitor"})).json()
    assert again["accepted"] == 0
    assert (await http.get("/v1/users/ann")).json() == ann


words = st.sampled_from(["a", "b", "c"])
facts = st.dictionaries(st.sampled_from(["country", "likes", "age"]), st.one_of(words, st.lists(words, max_size=3)))
references = st.sampled_from([{"user": "country"}, {"user": "likes"}, {"context": "device"}])
values = st.lists(st.one_of(words, references), min_size=1, max_size=4)


@given(st.lists(values, max_size=3), st.lists(values, max_size=3), st.lists(values, max_size=2), facts, words)
def test_a_resolved_filter_names_what_a_reader_would_put_there(must, should, must_not, user, device):
    """Values as they stand, what is known in the place of references, and nothing for what is not known."""
    raw = {
        part: [{"key": "tags", "any": value} for value in conditions]
        for part, conditions in (("must", must), ("should", should), ("must_not", must_not))
    }
    known = {"user": {"country": "keyword", "likes": "keyword[]"}, "context": {"device": "keyword"}}
    compiled = compile_filter(FilterIn.model_validate(raw), {"tags": "keyword[]"}, referable=known)
    if compiled is None:
        return
    plain = resolved(compiled, {"user": user, "context": {"device": device}})
    assert not refers(plain)

    def read(value: Any) -> list[str]:
        if isinstance(value, str):
            return [value]
        [(of, name)] = value.items()
        found = (user if of == "user" else {"device": device}).get(name)
        return [] if found is None else found if isinstance(found, list) else [found]

    for part, conditions in raw.items():
        for condition, made in zip(conditions, getattr(plain, part), strict=True):
            assert set(made.values) == {word for value in condition["any"] for word in read(value)}


async def test_what_is_like_a_disliked_item_comes_after_all_others(make_http) -> None:
    """A dislike keeps its near neighbours from the slate, and shortens none; a like of the item takes that back."""
    items = [
        Item(f"lamp-{n}", "Lamp", f"a lamp for the desk with a green shade and a brass foot, number {n}")
        for n in range(6)
    ]
    items += [
        Item(f"boat-{n}", "Boat", f"{word} sail on the sea") for n, word in enumerate(("red", "blue", "old", "new"))
    ]
    http = await make_http(items=items, attributes={})

    async def slate(**body: Any) -> list[str]:
        answer = await http.post("/v1/recommendations", json={"user_id": "ann", "k": 10, "diversity": 0, **body})
        return [item["item_id"].partition("-")[0] for item in answer.json()["items"]]

    await http.world.gateway.record([event("ann", "boat-0"), event("ann", "lamp-0", type="dislike")])
    assert await slate() == ["boat"] * 3 + ["lamp"] * 5
    await http.world.gateway.record([event("ann", "lamp-0")])
    assert (await slate())[0] == "lamp"
    assert await slate(events=[{"item_id": "lamp-1", "type": "dislike"}]) == ["boat"] * 3 + ["lamp"] * 4
