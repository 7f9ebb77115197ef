"""What all tests share: one real platform, started when the first test asks for it."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest

from deployments.machine.instance import instance_id
from deployments.machine.processes import instance_processes
from deployments.machine.runtime import Runtime
from deployments.machine.serve_config import read_for_serve
from recsys.config.platform import Ports
from recsys.data.movielens import Ml100k, fetch_ml100k
from tests.support import exports
from tests.support.live import REPOSITORY, Live, films, free_ports, local_config, ratings, recsys

# Before a library reads it: threads of one computation that share two cores with other work wait in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    gc.disable()  # until all is imported: the collector would look at that seven times meanwhile, and find nothing


pytest_plugins = ["tests.support.fixtures"]


PLATFORM = ("tests/cluster/", "tests/test_docs.py")
"""Files with tests of the platform."""
OWN_PLATFORM = ("tests/cluster/test_cluster_shop.py", "tests/cluster/test_three_nodes.py")
"""Files among those that start another one, and so need not wait for the first."""


TOGETHER = {
    "Rays of their own": (
        "tests/cluster/test_cluster_shop.py",
        "tests/cluster/test_three_nodes.py",
        "tests/deployments/batch/test_batch.py",
        "tests/deployments/machine/test_runtime_up.py",
    ),
    "the console": ("tests/deployments/console/",),
    "a trained model": (
        "tests/recsys/jobs/test_retrain.py",
        "tests/recsys/model/test_attention.py",
        "tests/recsys/model/test_keywords.py",
        "tests/recsys/ranking/test_signals.py",
        "tests/recsys/serving/test_evidence.py",
        "tests/recsys/serving/test_learned_serving.py",
        "tests/recsys/state/test_tie_breaking.py",
        "tests/recsys/training/",
        "tests/test_contributing.py",
    ),
    "the vector stores": (
        "tests/recsys/index/test_equal_vectors.py",
        "tests/recsys/index/test_index.py",
        "tests/recsys/index/test_nodes.py",
        "tests/recsys/index/test_stored.py",
        "tests/recsys/serving/test_engines_served.py",
        "tests/recsys/serving/test_store_away.py",
    ),
}
"""Files that share what takes long to make: a browser, servers of vectors, the `lesson`. And those that start a Ray of
their own, one after another: with that of the session at most two run at a time.
"""


FIRST = {"the platform": 0, "Rays of their own": 3}
"""What takes longest, with its niceness: the platform's tests have twice the processor time of the other Rays, where
both want all of it.
"""
NICE = 5
"""Of the processes with all other tests: a third of that of the platform's."""

LONG = (
    "the vector stores",
    "the console",
    "a trained model",
    "tests/recsys/encoders/test_encoders.py",
    "tests/recsys/tuning/test_halving.py",
    "tests/deployments/cli/test_cli_tune.py",
    "tests/recsys/tuning/test_tuning.py",
    "tests/load_tests/traffic/test_shoppers.py",
    "tests/recsys/serving/test_shard_replica.py",
    "tests/recsys/serving/test_version_follower.py",
    "tests/recsys/serving/test_canary.py",
    "tests/recsys/serving/test_shard_moves.py",
    "tests/recsys/serving/test_moves_drawn.py",
    "tests/recsys/index/test_reused_nodes.py",
    "tests/recsys/jobs/test_backup.py",
    "tests/deployments/cli/test_cli_evaluate.py",
    "tests/recsys/shard/test_plans.py",
    "tests/recsys/serving/test_recall_holding.py",
    "tests/recsys/shard/test_recall_control.py",
    "tests/deployments/api/test_http_callers.py",
    "tests/recsys/serving/test_swaps.py",
    "tests/deployments/cli/test_cli_interrupted.py",
    "tests/recsys/versions/test_contents.py",
    "tests/deployments/machine/test_two_containers.py",
    "tests/recsys/shard/test_search.py",
    "tests/recsys/versions/test_kept_versions.py",
    "tests/recsys/serving/test_standstill.py",
    "tests/test_imports.py",
    "tests/recsys/serving/test_failover.py",
    "tests/deployments/cli/test_cli.py",
    "tests/load_tests/traffic/test_run.py",
    "tests/deployments/cli/test_log_filter.py",
)
"""Files, and those of `TOGETHER`, that take about ten seconds or more, the longest first; `var/tests.xml` has the time
of each test.
"""


def process_of(nodeid: str) -> str:
    """What runs in one process with the test: what shares something, else its file."""
    if on_platform(nodeid):
        return "the platform"
    return next((name for name, files in TOGETHER.items() if nodeid.startswith(files)), nodeid.partition("::")[0])


def on_platform(nodeid: str) -> bool:
    return nodeid.startswith(PLATFORM) and not nodeid.startswith(OWN_PLATFORM)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Two more processes than cores: those with a Ray wait for it most of the time."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where tests run in several processes, each file runs in one, and so do all files that share what takes long to
    start.
    """
    from xdist.scheduler import LoadFileScheduling  # noqa: PLC0415 - it may not be installed

    class ByPlatform(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return process_of(nodeid)

    config.option.loadscopereorder = False  # files run in the order of the collection
    return ByPlatform(config, log)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In one process the quick tests come first, those on the platform last. In several, where those have a process of
    their own, what takes long comes first, so that all processes end at about the same time. Tests that are `late`, and
    then those that break the platform, come after all others on it.
    """
    for item in items:
        if "live" in getattr(item, "fixturenames", ()):
            assert on_platform(item.nodeid), f"{item.nodeid} asks for the platform: it belongs to tests/cluster"
            item.add_marker(pytest.mark.cluster)
    if "PYTEST_XDIST_WORKER" in os.environ:
        sizes = Counter(item.path for item in items)
        place = {name: number for number, name in enumerate((*FIRST, *LONG))}
        items.sort(key=lambda i: (place.get(process_of(i.nodeid), len(place)), -sizes[i.path]))
    items.sort(key=lambda item: ("outages" in item.path.name, item.get_closest_marker("late") is not None))
    if "PYTEST_XDIST_WORKER" not in os.environ:
        items.sort(key=lambda item: "live" in getattr(item, "fixturenames", ()))


def pytest_collection_finish() -> None:
    """What was imported stays: the collector leaves it alone, which takes it a third of a second at each look. It looks
    as often as in a composer, and not every 700 objects: that was a twentieth of all processor time.
    """
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """In several processes those with a Ray go first: they take longest, and wait for what they start. All others take
    the time of the processor that these leave.
    """
    if "PYTEST_XDIST_WORKER" in os.environ and (more := FIRST.get(process_of(item.nodeid), NICE) - os.nice(0)) > 0:
        os.nice(more)


@pytest.fixture(scope="session")
def data() -> Ml100k:
    """MovieLens 100K, kept between sessions: the second one downloads nothing."""
    return fetch_ml100k(REPOSITORY / "var" / "test-data", lambda _phase: None)


@pytest.fixture(scope="session")
def rated(data: Ml100k) -> dict[str, dict[str, float]]:
    return ratings(data)


@pytest.fixture(scope="session")
def film(data: Ml100k) -> dict[str, dict[str, Any]]:
    return films(data)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, data: Ml100k) -> Iterator[Live]:
    """All films, in two shards, and all 100,000 ratings; what the README's `recsys demo` gives."""
    folder: Path = tmp_path_factory.mktemp("live")
    ports = free_ports()
    # The budget is longer than in production: a test asks for complete answers on a machine that has other work.
    config = local_config(folder / "config.yaml", http_port=ports.pop("http"), data_dir=str(folder / "var"), budget_s=5)
    runtime = Runtime(folder / "var", Ports(**ports))
    try:
        with httpx.Client(trust_env=False, timeout=30) as http:
            yield _started(config, runtime, data, http, exports.place_of(tmp_path_factory))
    finally:
        stopped = runtime.down()
    assert stopped
    assert instance_processes(instance_id(folder / "var")) == []
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(folder) in " ".join(p.info["cmdline"] or ())]


def _started(config: Path, runtime: Runtime, data: Ml100k, http: httpx.Client, kept: Path) -> Live:
    built = orjson.loads(recsys(config, "build", data.items_file, "--promote", "--json"))
    exports.keep(config.parent / "var", kept)
    assert (built["items"], built["shards"], built["bad_rows"]) == (data.items, 2, 0)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "500")  # ms between two exports of spans; else 5,000
        instance = runtime.up(read_for_serve(config))
    http.base_url = httpx.URL(instance.api_url)
    live = Live(config, instance, runtime, data, http)
    sent = orjson.loads(live.recsys("import", "events", data.events_file, "--json"))
    counted = ("sent", "bad_rows", "duplicates", "too_old", "unknown_events")
    assert [sent[name] for name in counted] == [data.events, 0, 0, 0, 0]
    return live
