"""Large workloads, with few items: the version is built in steps, kept, and answers as exact search does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from load_tests.comparison.workload import Workload, item_id
from load_tests.growth import build_large, sizes
from load_tests.growth.build_large import MadeItems, Making
from load_tests.growth.large import ASKED, Large
from recsys.config.tuning import ShardTuning
from recsys.datatypes import item_keys
from recsys.shard.candidates import QUERY
from recsys.shard.probes import nearest_query
from recsys.shard.search import search
from recsys.versions.opening import open_shard
from recsys.versions.store import VersionStore

ITEMS = 3000


@pytest.fixture
def work(tmp_path: Path) -> Large:
    work = Large(items=ITEMS, dimension=16, clusters=20, users=120)
    return replace(work, folder=str(tmp_path / work.key))


def test_it_is_the_workload_of_the_comparison(work):
    """The same vectors, likes, tastes and right answers, but for what float16 rounds."""
    plain = Workload(items=ITEMS, dimension=16, clusters=20, users=120)
    assert work.plain == plain
    Making(Path(work.folder), work, 1).run()
    np.testing.assert_array_equal(work.likes, plain.likes)
    np.testing.assert_allclose(work.tastes, plain.tastes, atol=1e-6)
    right = plain.exact(ASKED)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(work.exact(ASKED), right, strict=True)]) > 0.97


def test_its_version_answers(work):
    Making(Path(work.folder), work, 1).run()
    store = VersionStore(Path(work.folder) / "data" / "versions")
    version = store.current() or ""
    shard = open_shard(store, version, 0)
    shard.tune(ShardTuning(ef_search=128))
    assert shard.items.live == ITEMS
    answers = search(shard, nearest_query(version, work.tastes[:ASKED], 50))
    hits = 0
    for number, right in enumerate(work.exact(ASKED)):
        mine = slice(answers.offsets[number], answers.offsets[number + 1])
        best = np.argsort(-answers.likeness[mine, QUERY], kind="stable")[:10]
        hits += len({answers.ids[mine.start + at] for at in best.tolist()} & set(right))
    assert hits / (10 * ASKED) > 0.97


def test_a_build_goes_on_behind_what_it_has_finished(work, monkeypatch):
    def killed(_: Making) -> None:
        raise KeyboardInterrupt

    folder = Path(work.folder)
    with monkeypatch.context() as patched:
        patched.setattr(Making, "answers", killed)
        with pytest.raises(KeyboardInterrupt):
            Making(folder, work, 1).run()
    index = folder / "draft" / "shard-0" / "index.bin"
    before = index.stat().st_ino
    Making(folder, work, 1).run()
    summary = json.loads((folder / "built.json").read_text())
    assert {"rows", "index", "answers", "publish", "done", "bytes"} <= summary.keys()
    (published,) = folder.glob("data/versions/*/shard-0/index.bin")
    assert published.stat().st_ino == before
    monkeypatch.setattr(build_large, "write_rows", killed)
    Making(folder, work, 1).run()  # nothing is left to do


def test_items_are_in_the_order_of_a_build():
    items = MadeItems(500)
    keys = item_keys(item.item_id for item in items)
    assert (keys[1:] > keys[:-1]).all()
    assert {item.item_id for item in items} == {item_id(number) for number in range(500)}


def test_a_measurement_takes_the_place_of_an_earlier_one(tmp_path):
    """Of the same work and contender; those of others stay."""

    def row(items: int, rps: float, contender: str = "recsys") -> dict:
        return {"step": {"axis": sizes.AXIS, "work": {"items": items}}, "contender": contender, "rps": rps}

    file = tmp_path / "scaling.json"
    sizes.keep([row(1, 1.0), row(2, 2.0), row(1, 5.0, "monolith-2")], file)
    sizes.keep([row(1, 3.0), row(1, 4.0)], file)
    rows = json.loads(file.read_text())["rows"]
    assert [r["rps"] for r in rows] == [2.0, 5.0, 3.0, 4.0]


@pytest.mark.parametrize("arguments", [[], ["--sizes", "5,7", "--m", "16"]])
def test_sizes_are_numbers(arguments):
    args = sizes.arguments(arguments)
    assert args.sizes == ([1_000_000, 3_000_000, 10_000_000] if not arguments else [5, 7])
