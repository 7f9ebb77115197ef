"""What `make compare-ann` measures, on a handful of vectors; no time is looked at."""

from __future__ import annotations

import json
import time

import numpy as np
import psutil
import pytest

from load_tests.ann import __main__ as whole
from load_tests.ann import paired, report
from load_tests.ann.__main__ import names_of
from load_tests.ann.contender import build, driver, measure, recall_of, set_for
from load_tests.ann.datasets import Dataset, exact
from load_tests.ann.runs import LateError, Run
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
    assert recall_of(contender.rows(contender.search(queries)), truth) >= 0.99


class Stepwise:
    """Finds the first `effort` of every ten, as far as `needed` lets it."""

    efforts = range(10, 1025)

    def __init__(self, needed: int) -> None:
        self._needed, self._effort, self.tried = needed, 0, 0

    def tune(self, effort: int) -> None:
        self._effort = effort
        self.tried += 1

    def search(self, queries: np.ndarray) -> np.ndarray:
        found = min(int(10 * self._effort / self._needed), 10)
        return np.tile([*range(found), *[-1] * (10 - found)], (len(queries), 1))

    def rows(self, answer: np.ndarray) -> np.ndarray:
        return answer


@pytest.mark.parametrize("needed", [5, 11, 100, 613, 1024])
def test_the_smallest_effort_that_is_enough_is_found(needed):
    """Within a fiftieth of itself, in a dozen tries; one that cannot be reached gives the largest."""
    truth = np.tile(np.arange(10), (4, 1))
    contender = Stepwise(needed)
    effort, found = set_for(contender, [np.zeros((4, 2), np.float32)], truth, 1.0)
    assert max(needed, 10) <= effort <= max(1.02 * needed, 10)
    assert (found, contender.tried <= 16) == (1.0, True)
    assert set_for(Stepwise(5000), [np.zeros((4, 2), np.float32)], truth, 1.0) == (1024, 0.2)


def test_a_run_goes_on_where_the_last_one_stopped(tmp_path, monkeypatch, capsys):
    """Each result is written at once; what was measured is not measured again, an error is; out of time, nothing is
    lost.
    """
    out = tmp_path / "ann.json"
    given = ["ann", "--sets", "clustered", "--items", "300", "--queries", "20", "--seconds", "0.02", "--only",
             "hnswlib", "--data", str(tmp_path), "--out", str(out)]  # fmt: skip
    monkeypatch.setattr("sys.argv", [*given, "--within", "0"])
    whole.main()
    assert "hnswlib was not measured: another run goes on from there" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", given)
    whole.main()
    first = json.loads(out.read_text())
    [rows] = first["sets"].values()
    assert list(first["sets"]) == ["clustered 300 x 384"]
    assert rows["hnswlib"]["reached"]
    whole.main()
    assert json.loads(out.read_text()) == first
    rows["hnswlib"] = {"error": "it died"}
    out.write_text(json.dumps(first))
    whole.main()
    assert json.loads(out.read_text())["sets"]["clustered 300 x 384"]["hnswlib"]["reached"]
    monkeypatch.setattr("sys.argv", [*given, "--recall", "0.9"])
    with pytest.raises(SystemExit, match="has results at recall"):
        whole.main()


def test_a_contender_that_is_not_there_is_an_error_and_one_out_of_time_is_none(data):
    folder, _, _ = data
    assert Run("recsys:hnsw_int9", folder, 0.95, 0.1).result(time.monotonic() + 60)["error"]
    # On a slow machine the time may be over before the contender is built, or right after that.
    with pytest.raises(LateError, match=r"recsys:flat was (measured only in part|built and not measured)"):
        Run("recsys:flat", folder, 0.95, 50.0).result(time.monotonic() + 2)
    running = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert not [command for command in running if str(folder) in command]


def test_kinds_with_commas_are_names_of_one_contender():
    assert names_of("hnswlib,recsys:faiss:IVF256,SQ8,recsys:flat") == [
        "hnswlib",
        "recsys:faiss:IVF256,SQ8",
        "recsys:flat",
    ]
    with pytest.raises(SystemExit, match="there is no contender 'hsnw'"):
        names_of("hsnw")


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


def test_two_contenders_are_asked_in_turn(tmp_path, monkeypatch, capsys):
    """Each in a process of its own, at the recall; what is printed names both and the two ratios."""
    given = ["paired", "--items", "300", "--queries", "40", "--rounds", "2", "--data", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*given, "--ours", "recsys:flat"])
    paired.main()
    printed = capsys.readouterr().out
    assert "clustered 300 x 384, recall@10 0.95, 2 rounds in turn" in printed
    assert '  recsys:flat: {"effort": 1, "recall": 1.0' in printed
    assert '  hnswlib: {"effort": ' in printed
    assert printed.count("recsys:flat / hnswlib, queries/") == 2
    monkeypatch.setattr("sys.argv", [*given, "--ours", "hnswlib", "--other", "recsys:hnsw_int9"])
    with pytest.raises(SystemExit, match="recsys:hnsw_int9: "):
        paired.main()


def test_the_cost_of_a_recall_lies_between_two_efforts():
    """As far between them as the recall lies between theirs; one effort alone where the smallest is enough."""
    truth, batch = np.tile(np.arange(10), (4, 1)), [np.zeros((4, 2), np.float32)]
    efforts = paired.Efforts.of(Stepwise(40), batch, truth, 0.85)
    assert (efforts.low, efforts.high) == (35, 36)
    assert efforts.recall == 0.9
    assert efforts.cost(100.0, 120.0) == pytest.approx(110.0)
    least = paired.Efforts.of(Stepwise(5), batch, truth, 0.9)
    assert (least.low, least.high, least.cost(7.0, 9.0)) == (10, 10, 9.0)


def test_ratios_are_of_rounds_and_more_is_faster():
    taken = {"ours": [{"us": 10.0}, {"us": 20.0}, {"us": 10.0}], "other": [{"us": 20.0}, {"us": 40.0}, {"us": 20.0}]}
    assert paired.ratios(taken, "us") == [2.0, 2.0, 2.0]
