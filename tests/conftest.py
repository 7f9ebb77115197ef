"""How the tests are run: in which processes, and in which order."""

from __future__ import annotations

import gc
import os
from collections import Counter
from typing import Any

import pytest

from tests.support.forks import Forks

# Before a library reads it: threads of one computation that share two cores with other work wait in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
        "tests/recsys/serving/test_told_profiles.py",
        "tests/recsys/shard/test_kept_likeness.py",
        "tests/recsys/state/test_tie_breaking.py",
        "tests/recsys/training/",
        "tests/test_contributing.py",
    ),
    "the encoders": ("tests/recsys/encoders/",),
    "the vector stores": (
        "tests/recsys/index/test_equal_vectors.py",
        "tests/recsys/index/test_index.py",
        "tests/recsys/index/test_nodes.py",
        "tests/recsys/index/test_stored.py",
        "tests/recsys/serving/test_engines_served.py",
        "tests/recsys/serving/test_store_away.py",
    ),
}
"""Files that share what takes long to make: a browser, exports, servers of vectors, the `lesson`. And those that start
a Ray of their own, one after another: with that of the session at most two run at a time.
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
    "the encoders",
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
    "tests/test_imports.py",
    "tests/recsys/serving/test_failover.py",
    "tests/deployments/cli/test_cli.py",
    "tests/load_tests/traffic/test_run.py",
    "tests/deployments/cli/test_log_filter.py",
)
"""Files, and those of `TOGETHER`, that take about ten seconds or more, the longest first; `var/tests.xml` has the time
of each test.
"""


WAITING = (
    "tests/recsys/serving/test_version_follower.py",
    "tests/recsys/serving/test_shard_moves.py",
    "tests/recsys/serving/test_moves_drawn.py",
    "tests/recsys/serving/test_shard_replica.py",
    "tests/recsys/serving/test_canary.py",
    "tests/deployments/api/test_http_callers.py",
    "tests/recsys/versions/test_kept_versions.py",
    "tests/load_tests/traffic/test_shoppers.py",
)
"""Of these those that wait most of the time. Where no platform runs beside them they come right behind the first two,
which take the processor: where all processes wait at once, no core has work.
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


def pytest_configure(config: pytest.Config) -> None:
    """Where several processes run the tests, this one imports nothing of them."""
    if not config.getoption("numprocesses", None):
        for name in ("fixtures", "live_platform"):
            config.pluginmanager.import_plugin(f"tests.support.{name}")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """All processes are forks of one that has imported the tests."""
    forks = Forks(config.args)
    config.add_cleanup(forks.end)
    for spec in specs:
        spec.python = forks.python


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
        alone = not any(on_platform(item.nodeid) for item in items)
        order = ("the vector stores", "a trained model", *WAITING, *LONG) if alone else (*FIRST, *LONG)
        place = {name: number for number, name in reversed(list(enumerate(order)))}
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
