"""Engines and their settings are tried on samples, then on all items, and what is chosen is asked other queries."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from recsys.config.index import IndexSpec, engine_module, engine_names
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Item
from recsys.errors import VersionError
from recsys.tuning import halving as halving_module
from recsys.tuning import trial
from recsys.tuning.filter_mix import filter_mix
from recsys.tuning.halving import Halving, Target, rungs
from recsys.tuning.interval import least
from recsys.tuning.probe_queries import probe_queries
from recsys.tuning.questions import Answers, Questions, numbered
from recsys.tuning.rung import Catalogue, Rung
from recsys.tuning.settings import label, settings, tried_efforts, variants
from recsys.tuning.trial import measure
from tests.support.world import unit_rows

D = 24
DECLARED = {"kind": "keyword", "year": "number"}


@pytest.fixture(scope="module", autouse=True)
def timed_briefly():
    """No test here goes by times: few queries are timed alone, and once. Each trial has the collector look at all that
    there is, which other tests' imports have made much of.
    """
    gc.freeze()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "ROUNDS", 1)
        patch.setattr(trial, "SINGLE", 5)
        yield


def catalogue(n: int, shards: int = 1) -> Catalogue:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, D))
    vectors = unit_rows(centres[rng.integers(0, 20, n)] + 0.6 * rng.standard_normal((n, D))).astype(np.float32)
    items = [Item(f"i{k}", f"text {k}", attributes={"kind": "abcd"[k % 4], "year": float(k % 40)}) for k in range(n)]
    return Catalogue(items, vectors, tuple(np.arange(k, n, shards) for k in range(shards)), DECLARED)


def asked(every: Catalogue, other: bool, n: int) -> Questions:
    ids = [item.item_id for item in every.items]
    probes = probe_queries(every.vectors, None, ids, None, n=min(n, 25), seed=7 + 100 * other)
    return Questions.of(probes, filter_mix(every.items, DECLARED), 10, 7 + other)


def halving(every: Catalogue, folder: Path, **target: float) -> Halving:
    """Measured in this process: its memory does not tell engines apart, and nothing here goes by it."""
    wanted = Target(**{"recall": 0.95, **target})
    return Halving(every, wanted, ShardTuning(), folder, lambda o, n: asked(every, o, n), measure=measure)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Of graphs of three sizes, on 2,400 items in two shards, and on a third of them before."""
    every = catalogue(2400, shards=2)
    work = halving(every, tmp_path_factory.mktemp("halving"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(halving_module, "rungs", lambda n: [n // 3, n])
        return every, work, work.run(settings(["hnsw"], 1200, D))


def test_the_choice_meets_the_target_with_other_queries(outcome):
    """In every group by itself, at the least that a probability of 95 % leaves."""
    _, _, found = outcome
    assert found.choice is not None
    assert {"texts", "tastes", "items", "filter: half", "filter: two at once"} <= found.choice.point.shares.keys()
    assert all(least(shares) >= 0.95 for shares in found.choice.point.shares.values())
    assert found.choice.trial.items == 2400
    assert found.choice.intervals["texts"].low > 0.8  # of 25 queries


def test_what_does_less_well_on_samples_is_not_tried_on_all_items(outcome):
    """Of the last rung every setting is tried with each of the vectors that a shard may keep."""
    _, _, found = outcome
    on_all = {label(one.trial.spec) for one in found.tried if one.trial.items == 2400}
    names = {name.partition(", originals")[0] for name in on_all}
    assert len(names) == 2
    assert all({name, f"{name}, originals float16", f"{name}, originals none"} <= on_all for name in names)
    assert found.left_out == {}


def test_less_memory_is_seen_in_the_process_of_a_shard(tmp_path):
    """Measured in a process of its own: float16 takes two bytes a component less, none takes two less again, but reads
    its vectors from the codes, a byte a component. Half of that is seen for sure, the rest may be what the heap keeps.
    """
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((3000, 768))).astype(np.float32)
    every = Catalogue([Item(f"i{k}") for k in range(3000)], vectors, (np.arange(3000),), {})
    rung = Rung(every, tmp_path / "rung", ShardTuning(), 0.5)
    rung.ask(Questions.of(probe_queries(vectors, None, [], None, n=20), {}, 1))
    spec = IndexSpec.of("hnsw_int8", m=4, ef_construction=8)
    exact, half, none = (rung.try_out(one, [64]).bytes_an_item for one in variants(spec))
    assert exact - half > 768
    assert half - none > 384


def test_limits_of_memory_and_latency_decide(tmp_path):
    """A memory that no process has leaves nothing; what was tried is told."""
    found = halving(catalogue(600), tmp_path, shard_bytes=1000.0).run(settings(["flat"], 600, D))
    assert found.choice is None
    assert [one.trial.items for one in found.tried] == [600, 600, 600]


def test_a_setting_that_cannot_be_made_is_left_out_with_its_reason(tmp_path):
    found = halving(catalogue(600), tmp_path).run(settings(["faiss:IVF8,PQ7", "flat"], 600, D))
    assert found.choice is not None
    assert found.choice.trial.spec.engine == "flat"
    assert any("faiss makes no IVF8,PQ7" in why for why in found.left_out.values())


def test_rungs_grow_by_three_and_end_with_all_items():
    assert rungs(1682) == [1682, 1682]
    assert rungs(17_472) == [5824, 17_472]
    assert rungs(60_000) == [6666, 20_000, 60_000]
    assert rungs(1_000_000) == [10_000, 50_000, 1_000_000]


def test_the_tables_of_the_engines_are_what_is_tried():
    """All engines that have one; an engine by name with its table, and a kind by itself; lists grow with the items."""
    every = {setting.engine for setting in settings([], 20_000, 64)}
    assert every == {name for name in engine_names() if engine_module(name).Spec.trials(20_000, 64)}
    assert {"hnsw", "hnsw_int8", "flat", "faiss"} <= every
    [kind] = settings(["faiss:IVF64,SQ8"], 20_000, 64)
    assert kind.spec(500, 64) == IndexSpec.of("faiss:IVF64,SQ8")
    assert [one.spec(500, 64).m for one in settings(["hnsw"], 20_000, 64)] == [8, 16, 32]
    lists = settings(["faiss"], 20_000, 64)[0]
    assert (lists.spec(2000, 64).engine, lists.spec(200_000, 64).engine) == ("faiss:IVF32,Flat", "faiss:IVF1024,Flat")


def test_limits_of_the_operator_hold_for_every_engine():
    """What a build may raise bounds what is tried; of other settings nothing is taken over."""
    current = IndexSpec.of("hnsw", m=48, ef_search_limit=100)
    for setting in settings(["hnsw", "hnsw_int8", "faiss", "annoy"], 20_000, 64, current):
        spec = setting.spec(20_000, 64)
        assert spec.ef_search_limit == 100
        assert max(tried_efforts(spec)) <= 100
    assert "ef_search_limit" not in type(settings(["flat"], 9, 9, current)[0].spec(9, 9)).model_fields


def test_an_unknown_engine_is_told():
    with pytest.raises(VersionError, match="there is no engine 'hsnw'"):
        settings(["hsnw"], 20_000, 64)


def test_an_answer_counts_distinct_vectors_that_match():
    """Copies of one vector are one; a query whose filter nothing matches says nothing."""
    vectors = unit_rows(np.random.default_rng(2).standard_normal((30, D))).astype(np.float32)
    vectors[5:15] = vectors[4]
    questions = Questions(vectors[[4, 4]], (None, None), ("a", "a"))
    answers = Answers.of(questions, vectors, {}, numbered(np.r_[np.arange(5), np.full(10, 4), np.arange(15, 30)]))
    assert answers.wanted.tolist() == [10, 10]
    copies = np.arange(4, 15)
    assert answers.share(0, copies, vectors[copies] @ vectors[4]) == pytest.approx(0.1)
    empty = filter_mix([Item("a", attributes={"kind": "x"}), Item("b", attributes={"kind": "y"})], DECLARED)
    given = next(iter(empty.values()))[0]
    nothing = Answers.of(
        Questions(vectors[:1], (given,), ("f",)), vectors, {given: np.zeros(0, np.int64)}, np.arange(30)
    )
    assert np.isnan(nothing.share(0, np.zeros(0, np.int64), np.zeros(0, np.float32)))


def test_codes_of_a_few_bits_are_tried_and_score_by_exact_vectors(tmp_path):
    """Every code of faiss' table is indexed, loaded and asked. Those of four bits and of one find more with exact
    vectors to score by than by themselves, by which they find less than 95 %.
    """
    every = catalogue(1500)
    rung = Rung(every, tmp_path / "rung", ShardTuning(), 0.95, measure=measure)
    rung.ask(asked(every, False, 20))
    best: dict[tuple[str, str], float] = {}
    for setting in settings(["faiss"], 1500, D):
        for spec in variants(setting.spec(1500, D)):
            if spec.originals != "float16":
                points = rung.try_out(spec, [64]).measurement.points
                best[spec.engine.partition(",")[2], spec.originals] = max(point.recall for point in points)
    assert {code for code, _ in best} == {"Flat", "SQ8", "PQ6", "PQ12x4fs", "RaBitQ"}
    assert min(best[code, "float32"] for code in ("Flat", "SQ8")) >= 0.95
    assert best["Flat", "none"] >= 0.95
    for code in ("PQ12x4fs", "RaBitQ"):
        assert best[code, "none"] < min(best[code, "float32"], 0.95)
