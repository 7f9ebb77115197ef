"""A sweep keeps what it measured, whatever happens later, and goes on behind it."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import psutil
import pytest

from load_tests.comparison import compare
from load_tests.comparison.bench import Bench, wait_for
from load_tests.comparison.workload import Workload
from load_tests.growth import sweep


def arguments(folder, *more):
    args = compare.arguments().parse_args([f"--out={folder}", *more])
    args.plots = args.out
    return args


def row(step, clients):
    value = getattr(step.work, step.axis, clients)
    numbers = dict.fromkeys(("rps", "p50_ms", "p99_ms", "memory_mib"), 1.0)
    return {"axis": step.axis, "value": value, "contender": step.contender, "clients": clients, **numbers} | {
        "step": asdict(step)
    }


def test_a_run_that_fails_keeps_its_points_and_the_next_measures_the_others_only(tmp_path, monkeypatch):
    measured = []

    def measure(step, _args, broken=True):
        if broken and step.work.candidates == 50:
            raise SystemExit("no memory left")
        measured.append(step.work.candidates)
        return [row(step, clients) for clients in step.clients]

    args = arguments(tmp_path, "--sweep=candidates", "--values=10,50,100", "--only=recsys")
    monkeypatch.setattr(sweep, "measure", measure)
    with pytest.raises(SystemExit, match="candidates 50: recsys: no memory left"):
        sweep.sweep(args)
    assert measured == [10, 100]
    monkeypatch.setattr(sweep, "measure", lambda step, args: measure(step, args, broken=False))
    sweep.sweep(args)
    assert measured == [10, 100, 50]
    rows = json.loads((tmp_path / "scaling.json").read_text())["rows"]
    assert sorted({r["value"] for r in rows}) == [10, 50, 100]
    assert (tmp_path / "scaling-candidates.png").stat().st_size > 0


def test_what_was_killed_in_the_middle_is_kept(tmp_path, monkeypatch):
    def measure(step, _args):
        if step.work.candidates == 50:
            raise KeyboardInterrupt
        return [row(step, clients) for clients in step.clients]

    monkeypatch.setattr(sweep, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        sweep.sweep(arguments(tmp_path, "--sweep=candidates", "--values=10,50", "--only=recsys"))
    assert {r["value"] for r in json.loads((tmp_path / "scaling.json").read_text())["rows"]} == {10}


def test_all_numbers_of_clients_take_one_start(tmp_path):
    steps = sweep.steps("clients", arguments(tmp_path, "--values=1,8,64"))
    assert [(s.contender, s.clients) for s in steps] == [("recsys", (1, 8, 64)), ("monolith-2", (1, 8, 64))]


def test_a_walk_keeps_as_many_as_it_returns(tmp_path):
    steps = sweep.steps("candidates", arguments(tmp_path, "--values=50,500", "--only=recsys"))
    assert [s.work.ef for s in steps] == [128, 500]


def test_the_index_over_everything_is_the_same_for_any_number_of_shards(tmp_path):
    one, four = (Bench(replace(Workload(), shards=n, users=n * 10), tmp_path, tmp_path) for n in (1, 4))
    assert one.folder == four.folder
    assert one.split != four.split
    assert Workload(items=10).key != Workload(items=11).key


def test_a_server_that_ends_is_not_waited_for(tmp_path):
    server = psutil.Popen([sys.executable, "-c", "raise SystemExit(3)"], stdin=subprocess.DEVNULL)
    with pytest.raises(SystemExit, match="exit code 3"):
        wait_for("http://127.0.0.1:9/", 30, server, tmp_path / "log")
