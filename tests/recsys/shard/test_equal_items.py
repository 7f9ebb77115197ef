"""Equal items: recognised in every shard, given one vector, and shown once."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.config.index import IndexSpec
from recsys.datatypes import Item, RecQuery
from recsys.index.base import engine
from recsys.shard.candidates import QUERY
from recsys.shard.equal_items import TwinColumns, Twins, content_hashes, repeated
from recsys.shard.item_table import ItemTable
from recsys.shard.search import search
from recsys.shard.shard import Shard
from recsys.shard.sketches import Sketcher
from recsys.shard.sources import BITS
from tests.support.small_shards import Asked, answers, query_of
from tests.support.world import World, unit_rows

D = 16


def vectors_of(n: int, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, D)))


def make_shard(items: list[Item], vectors: np.ndarray, name: str = "hnsw") -> Shard:
    spec = IndexSpec.of(name)
    table = ItemTable({}, D, Sketcher.fit(vectors_of(100)))
    index = engine(spec).create(spec, D)
    if len(items):
        table.adopt(items, vectors)
        index.add(np.arange(len(items)), vectors)
    return Shard("v", table, index)


def test_equal_are_title_text_and_what_was_learned():
    """Same in every shard, whether the item came with the snapshot or by the log; items that say nothing equal none."""
    items = [Item("a", "t", "x"), Item("b", "t", "x"), Item("c", "tx"), Item("d"), Item("e"), Item("f", "t", "x")]
    learned = np.array([[0.5], [0.5], [0.5], [0.5], [0.5], [0.9]], np.float32)
    one, other = Twins(1), Twins(1)
    one.adopt(TwinColumns.of(content_hashes(items), learned))
    other.adopt(TwinColumns.of(content_hashes([]), learned[:0]))
    other.append(items, learned)
    keys = one.keys.view
    np.testing.assert_array_equal(keys, other.keys.view)
    assert keys[0] == keys[1] != 0
    assert len({int(key) for key in keys[[0, 2, 5]]}) == 3
    assert keys[3] == keys[4] == 0
    for each in (one, other):
        assert each.several.view.tolist() == [True, True, False, False, False, True]
        assert each.firsts([Item("z", "t", "x"), Item("z"), Item("z", "tx"), Item("z", "new")]).tolist() == [
            0,
            -1,
            2,
            -1,
        ]


def test_repeated():
    """The second of a key within a group; a key of 0 is like none."""
    groups, keys = np.array([0, 0, 1, 1, 1, 0, 0]), np.array([5, 5, 5, 0, 0, 7, 5], np.uint64)
    assert repeated(groups, keys).tolist() == [False, True, False, False, False, False, True]
    assert not repeated(groups[:0], keys[:0]).any()


@pytest.mark.parametrize("pieces", [1, 3, 40])
def test_items_of_one_text_share_a_vector(pieces):
    """Though an encoder makes a little of another one each time; in whatever pieces the log is read. A vector that is
    far from it is kept, and so is an item's new text.
    """
    rng = np.random.default_rng(0)
    first = vectors_of(1)[0]
    items = [Item(f"i{n}", "untitled") for n in range(40)]
    vectors = unit_rows(first + 0.01 * rng.standard_normal((40, D)))
    items[7], vectors[7] = Item("i7", "other"), vectors_of(1, 5)[0]
    vectors[9] = -first
    shard = make_shard([Item("s", "untitled")], first[None])
    for part in np.array_split(np.arange(40), pieces):
        shard.upsert([items[i] for i in part], vectors[part])
        shard.fresh.link()
    rows = shard.items.rows([item.item_id for item in items])
    held = shard.items.vectors(rows)
    for n in range(40):
        np.testing.assert_array_equal(held[n], vectors[n] if n in {7, 9} else first)
    assert len(shard.index.graph) == 3


@pytest.mark.parametrize("name", ["flat", "hnsw", "hnsw_int8"])
@pytest.mark.parametrize("exact_below", [0, 10_000])
def test_equal_items_do_not_fill_a_source(name, exact_below):
    """Beside 2,000 items of one text a source gives as many others as it was asked for, and the equal ones that are
    among the best; what was excluded makes room for its equal.
    """
    vectors = np.concatenate([np.repeat(vectors_of(1), 2000, 0), vectors_of(64, 3)])
    items = [Item(f"u{n}", "Untitled", "", {}, float(n)) for n in range(2000)]
    items += [Item(f"d{n}", f"title {n}", "", {}, float(n)) for n in range(64)]
    shard = make_shard(items, vectors, name)
    shard.tune(shard.tuning.model_copy(update={"exact_below": exact_below}))
    asked = Asked([(QUERY, "similar", 30, vectors[0])], {"recent": 30, "popular": 30})
    (got,) = answers(shard, [asked])
    for source in ("similar", "recent", "popular"):
        mine = {i for i, (bits, _) in got.items() if bits & BITS[source]}
        assert len({i for i in mine if i.startswith("d")}) >= 29
        assert any(i.startswith("u") for i in mine)
    for n in range(0, 64, 7):
        (got,) = answers(shard, [Asked([(QUERY, "similar", 1, vectors[2000 + n])])])
        assert f"d{n}" in got
    gone = [i for i in got if i.startswith("u")] or ["u0"]
    (got,) = answers(shard, [Asked([(QUERY, "similar", 30, vectors[0])], exclude=[*gone, "u1"])])
    assert any(i.startswith("u") for i in got)
    assert not {*gone, "u1"} & got.keys()
    keys = search(shard, query_of([asked])).twins
    assert len(set(keys.tolist())) >= 60


async def test_a_slate_shows_one_of_equal_items(make_world):
    """Over two shards: of 300 items of one text the slate has one, as long as there are others; then it is filled.
    Every other item is first in a search for its own text, and what is ranked comes back whole.
    """
    same = [Item(f"u{n}", "Untitled", "", {"number": float(n)}) for n in range(300)]
    others = [Item(f"d{n}", f"word{n} text{n}", "") for n in range(24)]
    world: World = await make_world(items=[*same, *others], shards=2, attributes={"number": "number"})
    slate = await world.gateway.search("Untitled", RecQuery(scenario="search", k=20))
    ids = [item.item_id for item in slate.items]
    assert ids[0].startswith("u")
    assert len(ids) == 20
    assert sum(i.startswith("u") for i in ids) == 1
    slate = await world.gateway.recommend(RecQuery(scenario="home", k=20))
    assert sum(item.title == "Untitled" for item in slate.items) == 1
    assert len(slate.items) == 20
    slate = await world.gateway.search("Untitled", RecQuery(scenario="search", k=40))
    assert [item.title for item in slate.items].count("Untitled") == 40 - 24
    assert len({item.item_id for item in slate.items}) == 40
    for other in others:
        slate = await world.gateway.search(other.title, RecQuery(scenario="search", k=1))
        assert [item.item_id for item in slate.items] == [other.item_id]
    asked = ("u5", "d3", "u7", "u299", "ghost")
    slate = await world.gateway.recommend(RecQuery(scenario="rank", k=4, items=asked))
    assert {item.item_id for item in slate.items} == set(asked[:-1])


@pytest.mark.parametrize("name", ["flat", "hnsw", "hnsw_int8"])
async def test_every_distinct_item_is_first_for_its_own_text(make_http, name):
    """Over HTTP: among 600 items of one text each of 64 others, half of them written later, is found at rank 1 by its
    own text; so is one of the equal ones by theirs, with the others behind it and not its equals.
    """
    same = [Item(f"u{n}", "Untitled") for n in range(600)]
    others = [Item(f"d{n}", f"word{n} text{n}") for n in range(64)]
    http = await make_http(items=[*same, *others[:32]], index=IndexSpec.of(name))
    body = {"items": [{"item_id": item.item_id, "title": item.title} for item in others[32:]]}
    body["items"] += [{"item_id": f"later {n}", "title": "Untitled"} for n in range(40)]
    written = await http.post("/v1/items?wait=visible", json=body)
    assert written.status_code == 200, written.text

    async def found(text: str, k: int) -> list[str]:
        answer = await http.post("/v1/search", json={"text": text, "k": k})
        assert answer.status_code == 200, answer.text
        return [item["item_id"] for item in answer.json()["items"]]

    for other in others:
        assert await found(other.title, 1) == [other.item_id]
    ids = await found("Untitled", 30)
    assert [i.startswith(("u", "later")) for i in ids] == [True] + [False] * 29


async def test_items_without_title_and_text_are_all_shown(make_world):
    """Nothing says what they are: a shop that sends ids alone gets its items."""
    world: World = await make_world(items=[Item(f"i{n}") for n in range(40)])
    slate = await world.gateway.recommend(RecQuery(scenario="home", k=20))
    assert len({item.item_id for item in slate.items}) == 20
