"""What `make compare-ann` measures, on a handful of vectors; no time is looked at."""

from __future__ import annotations

import numpy as np
import pytest

from load_tests.ann import report
from load_tests.ann.__main__ import _names
from load_tests.ann.contender import build, driver, measure, recall_of
from load_tests.ann.datasets import Dataset, exact
from tests.support.world import unit_rows


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((800, 16))).astype(np.float32)
    queries = unit_rows(rng.standard_normal((40, 16))).astype(np.float32)
    folder = tmp_path_factory.mktemp("ann")
    Dataset("few", vectors, queries, exact(vectors, queries)).save(folder)
    return folder, vectors, queries


def test_exact_answers_are_the_nearest(data):
    _, vectors, queries = data
    assert (exact(vectors, queries) == np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]).all()


@pytest.mark.parametrize("name", ["recsys:hnsw", "recsys:hnsw_int8/float16", "recsys:flat", "hnswlib"])
def test_a_contender_is_set_to_the_recall(data, tmp_path, name):
    """Built, opened and searched; the answers are rows of the vectors."""
    folder, vectors, queries = data
    assert build(driver(name), folder, tmp_path)["build_s"] >= 0
    contender = driver(name)
    contender.open(tmp_path, vectors.shape[1])
    truth = exact(vectors, queries)
    row = measure(contender, queries, truth, 0.95, 0.05)
    assert row["reached"]
    assert row["recall"] >= 0.95
    assert row["process_mib"] > 0
    contender.tune(contender.efforts[-1])
    assert recall_of(contender.search(queries), truth) >= 0.99


def test_kinds_with_commas_are_names_of_one_contender():
    assert _names("hnswlib,recsys:faiss:IVF256,SQ8,recsys:flat") == [
        "hnswlib",
        "recsys:faiss:IVF256,SQ8",
        "recsys:flat",
    ]
    with pytest.raises(SystemExit, match="there is no contender 'hsnw'"):
        _names("hsnw")


def test_ratios_and_the_picture_are_of_those_that_reached_the_recall(tmp_path, capsys):
    """One that died is named with its error."""
    row = {"effort": 64, "recall": 0.96, "reached": True, "queries_s": 900, "queries_s_2_threads": 1500, "cpu_us": 1.0,
           "p50_ms": 0.3, "p99_ms": 0.5, "build_s": 1.0, "process_mib": 200.0}  # fmt: skip
    rows = {"recsys:hnsw": row, "hnswlib": row | {"queries_s": 1000}, "milvus": {"error": "no module named milvus"},
            "voyager": row | {"reached": False}}  # fmt: skip
    found = {"recall": 0.95, "sets": {"few": rows}}
    assert report.ratios(rows) == {"hnswlib": 0.9}
    report.show(found)
    report.plot(found, tmp_path / "few.png")
    assert "no module named milvus" in capsys.readouterr().out
    assert (tmp_path / "few.png").stat().st_size > 1000
