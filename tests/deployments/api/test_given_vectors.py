"""Over HTTP: items that come with their vectors, which are checked, kept, and used instead of encoding their texts."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest

from recsys.datatypes import Floats
from recsys.encoders.hashing import HashingEncoder
from recsys.serving.item_vectors import COMPARED
from tests.support.live_builds import build_live, serve
from tests.support.world import DIMENSION, World
from tests.support.wrong_calls import JSON, wrong

LIKENESS = 0.97
"""Cosine of the given vectors to the encoder's own: near enough to be taken, and seen to be another one."""


def near(world: World, text: str) -> list[float]:
    """A vector at LIKENESS from the text's own, and of another length."""
    own: Floats = HashingEncoder(world.platform.encoder).encode([text])[0]
    across = np.random.default_rng(3).standard_normal(DIMENSION).astype(np.float32)
    across -= (across @ own) * own
    across /= np.linalg.norm(across)
    vector = LIKENESS * own + np.sqrt(1 - LIKENESS**2) * across
    return (37 * vector).tolist()


async def likeness(http: httpx.AsyncClient, item_id: str, text: str) -> float:
    """The cosine by which a search for its text finds the item."""
    body = {"text": text, "k": 100, "explain": True}
    items = (await http.post("/v1/search", json=body)).json()["items"]
    return next(float(item["signals"]["query"]) for item in items if item["item_id"] == item_id)


async def bulk(http: httpx.AsyncClient, items: list[dict[str, Any]]) -> httpx.Response:
    return await http.post("/v1/items?wait=visible", json={"items": items})


async def test_an_item_is_found_by_its_given_vector(make_http) -> None:
    """No text is encoded but a few that are compared. A change of attributes keeps the vector, as does a rebuild."""
    http = await make_http()
    texts = [f"lighthouse number {n}" for n in range(20)]
    items = [{"item_id": f"new-{n}", "title": text, "vector": near(http.world, text)} for n, text in enumerate(texts)]
    assert (await bulk(http, items)).json()["refused_count"] == 0
    assert sum(map(len, http.world.encoded)) == COMPARED
    assert await likeness(http, "new-7", texts[7]) == pytest.approx(LIKENESS, abs=1e-3)
    await http.patch("/v1/items/new-7?wait=visible", json={"attributes": {"topic": "sea"}})
    await serve(http.world, (await build_live(http.world)).version)
    assert await likeness(http, "new-7", texts[7]) == pytest.approx(LIKENESS, abs=1e-3)
    await http.patch("/v1/items/new-7?wait=visible", json={"text": "of stone"})
    assert await likeness(http, "new-7", f"{texts[7]}. of stone") == pytest.approx(1.0, abs=1e-3)


async def test_items_with_and_without_vectors_come_in_one_call(make_http) -> None:
    """And one by itself; null says that there is none."""
    http = await make_http()
    given = {"item_id": "given", "title": "anchor chain", "vector": near(http.world, "anchor chain")}
    await bulk(http, [{"item_id": "encoded", "title": "anchor rope", "vector": None}, given])
    alone = {"title": "anchor light", "vector": near(http.world, "anchor light")}
    await http.put("/v1/items/alone?wait=visible", json=alone)
    for item_id, text, expected in (
        ("encoded", "anchor rope", 1.0),
        ("given", "anchor chain", LIKENESS),
        ("alone", "anchor light", LIKENESS),
    ):
        assert await likeness(http, item_id, text) == pytest.approx(expected, abs=1e-3)
    assert "vector" not in (await http.get("/v1/items/given")).json()


WRONG: dict[str, tuple[Any, str]] = {
    "too short": ([0.5] * (DIMENSION - 1), "has 31 numbers, and the served version's encoder makes 32"),
    "too long": ([0.5] * (DIMENSION + 1), "has 33 numbers"),
    "empty": ([], "is empty"),
    "zeros": ([0] * DIMENSION, "is all zeros"),
    "a text": ("0.5", "must be a list of numbers"),
    "a number": (0.5, "must be a list of numbers"),
    "an object": ({"0": 0.5}, "must be a list of numbers"),
    "a text in it": ([0.5] * 31 + ["0.5"], "entry 31 must be a finite number, not '0.5'"),
    "true in it": ([True] + [0.5] * 31, "entry 0 must be a finite number, not True"),
    "null in it": ([0.5, None] + [0.5] * 30, "entry 1 must be a finite number"),
    "a list in it": ([[0.5]] * DIMENSION, "entry 0 must be a finite number, not a list"),
    "not a number": ([float("nan")] * DIMENSION, "not finite"),
    "infinite": ([float("inf")] + [0.5] * 31, "not finite"),
    "over 308 digits": ([10**400] + [0.5] * 31, "not finite"),
}


async def test_a_wrong_vector_is_refused_by_name(make_http, subtests) -> None:
    """Of one item, and of one among others, which are written."""
    http = await make_http()
    for name, (vector, why) in WRONG.items():
        with subtests.test(name):
            content = json.dumps({"title": "anchor", "vector": vector})
            alone = await http.put("/v1/items/new", content=content, headers=JSON)
            assert why in wrong(alone, "vector", "bad_input")["detail"]
            items = [{"item_id": "good", "title": "anchor"}, {"item_id": "bad", "title": "anchor", "vector": vector}]
            answer = await http.post("/v1/items", content=json.dumps({"items": items}), headers=JSON)
            found = answer.json()
            assert ([one["item_id"] for one in found["written"]], found["refused_indexes"]) == (["good"], [1])
            assert found["refused"][0]["field"] == "vector"
            assert why in found["refused"][0]["message"]


async def test_vectors_of_another_model_are_refused_together(make_http) -> None:
    """They have the right length and lie anywhere: nothing of the call is written."""
    http = await make_http()
    draw = np.random.default_rng(5)
    items = [
        {"item_id": f"new-{n}", "title": f"anchor {n}", "vector": draw.standard_normal(DIMENSION).tolist()}
        for n in range(10)
    ]
    detail = wrong(await bulk(http, items), "vector", "bad_input")["detail"]
    assert "under 0.95; they must come from it, of the text `title. text`" in detail
    assert (await http.get("/v1/items/new-0")).status_code == 404


async def test_items_with_vectors_are_written_while_no_encoder_answers(make_http) -> None:
    """Those without are refused as a whole call, to be sent again."""
    http = await make_http()
    http.world.encoder_down = True
    given = {"item_id": "given", "title": "anchor chain", "vector": near(http.world, "anchor chain")}
    assert (await bulk(http, [given])).json()["written"][0]["visible"] is True
    assert (await bulk(http, [given, {"item_id": "encoded", "title": "anchor rope"}])).status_code == 503
    assert (await http.get("/v1/items/encoded")).status_code == 404


async def test_a_change_in_part_has_no_vector(make_http) -> None:
    """Whether or not it names a time: who has a vector writes the whole item."""
    http = await make_http()
    vector = near(http.world, "anchor")
    for body in ({"vector": vector}, {"vector": vector, "created_at": "2026-01-01"}):
        wrong(await http.patch("/v1/items/sea-1", json=body), "vector", "unknown_field")
