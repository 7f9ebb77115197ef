"""Each contender is measured with the cheapest setting that finds enough."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from load_tests.comparison import cheapest
from load_tests.comparison.bench import ROOT, Bench
from load_tests.comparison.cheapest import bytes_an_item, tune
from load_tests.comparison.contenders import contenders
from load_tests.comparison.workload import Workload


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Workload(items=400, dimension=8, users=20), tmp_path, ROOT / "configs" / "benchmark.yaml")


@dataclass
class Searching:
    """Finds the right items from a certain ef on, and half of them below."""

    enough: int
    name: str = "one"
    needs: str = "one"
    target: str = ""
    ef: int | None = None
    started: list[int | None] = field(default_factory=list)

    def start(self) -> None:
        self.started.append(self.ef)

    def stop(self) -> None:
        pass


def test_the_first_step_that_finds_enough_is_taken(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step above it is tried; one that never finds enough is not measured at all."""
    contender, exact = Searching(enough=80), bench.work.exact(20)

    def asked(*_: object) -> list[list[str]]:
        assert contender.ef is not None
        found = 10 if contender.ef >= contender.enough else 5
        return [[*ids[:found], *(f"wrong-{n}" for n in range(10 - found))] for ids in exact]

    monkeypatch.setattr(cheapest, "ask", asked)
    bench.folder.mkdir(parents=True)
    bench.split.mkdir(exist_ok=True)
    (bench.folder / "all.hnsw").write_bytes(bytes(4000))
    setting = tune(contender, bench, 0.99)
    assert (setting["ef"], setting["recall"], setting["bytes_an_item"]) == (80, 1.0, 10)
    assert contender.started == [50, 64, 80]
    ours = Searching(enough=32, needs="platform")
    contender = ours
    assert tune(ours, bench, 0.99)["ef"] == 32  # its walk may keep fewer in sight than it is asked for
    assert ours.started == [24, 32]
    contender = Searching(enough=1000)
    with pytest.raises(SystemExit, match="under"):
        tune(contender, bench, 0.99)


def test_a_setting_reaches_every_kind_of_contender(bench: Bench) -> None:
    """The config file of the platform's shards, and the environment of the others."""
    [platform] = contenders(bench, ["recsys"])
    platform.ef = 77
    deployments = yaml.safe_load(yaml.safe_dump(platform.settings()))["applications"][0]["deployments"]
    assert {d["user_config"]["ef_search"] for d in deployments if d["name"].startswith("shard-")} == {77}
    assert bench.environment(77)["BENCH_EF"] == "77"
    assert bench.environment()["BENCH_EF"] == str(bench.work.ef)


def test_graph_and_vectors_count_and_texts_do_not(bench: Bench) -> None:
    shard = bench.split / "data" / "versions" / "v1" / "shard-0"
    shard.mkdir(parents=True)
    for name, size in {
        "index.bin": 400,
        "index.nodes": 400,
        "vectors.npy": 800,
        "documents.bin": 9,
        "items.parquet": 9,
    }.items():
        (shard / name).write_bytes(bytes(size))
    assert bytes_an_item("platform", bench) == 4
