"""Where code stands and what it leans on: the rooms of recsys/ in layers."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from deployments.ray_internals.forking.imports import OURS, RAYS
from tests.support.sources import CONFIG, Source, imports, room_of, sources

ROOT = Path(__file__).parents[1]

LAYERS = (
    ("",),
    ("encoders", "model", "state", "statistics"),
    ("index", "data", "outcomes"),
    ("shard", "reading", "experiments"),
    ("ranking", "transport", "tuning"),
    ("versions",),
    ("serving", "backup"),
    ("access", "evaluation"),
    ("training",),
    ("jobs",),
)
"""The rooms, from the lowest layer: "" is recsys/ itself. A file imports from its own room or from a lower layer, never
from another room of its layer."""

SPOKEN = {
    "__init__.py",
    "errors.py",
    "telemetry.py",
    "routing.py",
    "answers.py",
    "datatypes.py",
    "columns.py",
    "compiled.py",
    "gathering.py",
    "files.py",
}
"""What every room may import: the only files that stand in recsys/ itself. The settings in config/ belong to them."""

PLACES: Mapping[str, tuple[str, ...]] = {
    "torch": (
        "encoders/torch_encoder.py",
        "encoders/export.py",
        "encoders/quiet_libraries.py",
        "training/attention.py",
    ),
    "sentence_transformers": ("encoders/torch_encoder.py", "encoders/export.py"),
    "transformers": ("encoders/quiet_libraries.py",),
    "onnx": ("encoders/",),
    "onnxruntime": ("encoders/",),
    "lightgbm": ("training/", "ranking/tree_ranker.py"),
    "sklearn": ("training/",),
    "implicit": ("training/baselines.py",),
    "faiss": ("index/",),
    "hnswlib": ("index/",),
    "pyarrow": ("backup/", "data/", "outcomes/", "reading/", "shard/snapshot.py"),
    "redis": ("state/", "outcomes/", "backup/", "serving/", "versions/", "jobs/"),
    "fsspec": ("backup/", "outcomes/log_files.py", "versions/storage.py"),
    "duckdb": ("outcomes/",),
    "cronsim": ("jobs/", "config/unattended.py"),
    **dict.fromkeys(
        ("ray", "starlette", "fastapi", "uvicorn", "httpx", "opentelemetry", "typer", "rich", "pandas"), ()
    ),
    **dict.fromkeys(("pandas", "deployments", "load_tests", "tests"), ()),
}
"""Package -> the rooms and files of recsys/ that may import it."""

LATE = {("lightgbm", "ranking/tree_ranker.py")}
"""(package, file) that is imported inside a function only: a replica that ranks without trees does not wait for it."""

STAGE_HANDS = {
    "ann/films.py",
    "ann/ours.py",
    "chaos/__main__.py",
    "chaos/cluster.py",
    "chaos/cluster_stage.py",
    "chaos/faults.py",
    "chaos/machine.py",
    "chaos/namespaces.py",
    "chaos/stage.py",
    "comparison/baselines/naive_serve.py",
    "comparison/baselines/noop_serve.py",
    "comparison/cluster.py",
    "comparison/prepare.py",
    "experiments/canary.py",
    "experiments/coverage.py",
    "experiments/logged_policy.py",
    "experiments/people.py",
    "experiments/sensitivity.py",
    "growth/build_large.py",
    "growth/forecast.py",
    "growth/many_users.py",
    "growth/open_large.py",
    "parts/catalogues.py",
    "parts/dislikes.py",
    "parts/encoder_bench.py",
    "parts/filter_bench.py",
    "parts/filter_cases.py",
    "parts/held_recall.py",
    "parts/index_bench.py",
    "parts/item_writes.py",
    "parts/many_shards.py",
    "parts/plans_left_out.py",
    "parts/searched_while_written.py",
    "parts/shard_memory.py",
    "parts/shards_stage.py",
    "parts/slow_replicas.py",
    "parts/tuned.py",
}
"""Of load_tests/, what sets the stage for a measurement, in processes of their own, and what measures a part alone;
nothing that measures the platform imports them."""


def upward(found: list[Source]) -> list[str]:
    """Imports of a higher layer, or of another room in the same one; rooms that have no layer."""
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    wrong = [f"{source.path}: {source.room}/ is in no layer" for source in found if source.room not in layer]
    for source in found:
        for file in sorted(source.files):
            room = room_of(file)
            if room != source.room and layer.get(room, 0) >= layer.get(source.room, 0):
                wrong.append(f"{source.path} imports {file}")
    return wrong


def circles(found: list[Source]) -> list[str]:
    try:
        TopologicalSorter({source.path: source.files for source in found}).prepare()
    except CycleError as error:
        return [" → ".join(reversed(error.args[1]))]
    return []


def strays(found: list[Source]) -> list[str]:
    return [
        source.path
        for source in found
        if not source.room and source.path not in SPOKEN and not source.path.startswith(CONFIG)
    ]


def crowded(found: list[Source]) -> list[str]:
    """Rooms whose `__init__` says more or less than one sentence, or that have none."""
    inits = {source.room: source for source in found if source.path in ("__init__.py", f"{source.room}/__init__.py")}
    rooms = sorted({source.room for source in found})
    return [room or "recsys" for room in rooms if room not in inits or not inits[room].sentence]


def misplaced(found: list[Source]) -> list[str]:
    wrong = []
    for source in found:
        heavy = sorted(source.packages & PLACES.keys())
        wrong += [f"{source.path} imports {p}" for p in heavy if not {source.path, f"{source.room}/"} & set(PLACES[p])]
        wrong += [f"{source.path} imports {p} at once" for p in source.at_once if (p, source.path) in LATE]
    return wrong


def environment(found: list[Source]) -> list[str]:
    return [source.path for source in found if source.environment and source.path != "config/environment.py"]


def hands(found: list[Source]) -> list[str]:
    """What of load_tests/ knows the platform from inside, or leans on what does."""
    wrong = [s.path for s in found if s.packages & {"recsys", "deployments", "ray"} and s.path not in STAGE_HANDS]
    # A fault needs both hands, and neither a simulated experiment nor what measures a part alone measures a platform.
    measuring = [s for s in found if s.room not in ("chaos", "experiments", "parts")]
    return wrong + [s.path for s in measuring if s.files & STAGE_HANDS]


@pytest.fixture(scope="module")
def recsys() -> list[Source]:
    return sources(ROOT / "recsys")


@pytest.mark.parametrize("rule", [upward, circles, strays, crowded, misplaced, environment])
def test_the_rooms_are_in_order(recsys, rule):
    """Each rule over all files of recsys/."""
    assert len(recsys) > 100
    assert rule(recsys) == []


def test_the_tests_mirror_the_rooms():
    """Each room's tests lie in a folder of its name, and pytest wants a file's name once; no test module is imported:
    what tests share is in support/.
    """
    files = sorted((ROOT / "tests").rglob("*.py"))
    names_of_tests = Counter(p.name for p in files if p.name.startswith("test_"))
    assert {name for name, times in names_of_tests.items() if times > 1} == set()
    rooms = {room for layer in LAYERS for room in layer}
    stray = [str(p) for p in (ROOT / "tests" / "recsys").rglob("*.py") if _room_of(p) not in rooms]
    modules = {p.stem for p in files if p.stem.startswith("test_")}
    shared = {str(p): names for p in files if (names := {i.split(".")[-2] for i in _names_in(p)} & modules)}
    assert (stray, shared) == ([], {})


def _room_of(test: Path) -> str:
    return str(test.parent.relative_to(ROOT / "tests" / "recsys")).strip(".")


def _names_in(file: Path) -> set[str]:
    return {f"_.{name}" for name in imports(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))}


def test_load_tests_know_http_only():
    """What measures imports neither of the two packages nor Ray: it sees the platform as its clients do."""
    assert hands(sources(ROOT / "load_tests")) == []


PLANTED = {
    "shard/a.py": (upward, "import recsys.serving.gateway", "shard/a.py imports serving/gateway.py"),
    "model/a.py": (upward, "def f():\n    from recsys.state import users", "model/a.py imports state/users.py"),
    "rank/a.py": (upward, "", "rank/a.py: rank/ is in no layer"),
    "shard/b.py": (circles, "from recsys.shard import c", "shard/b.py → shard/c.py → shard/b.py"),
    "helpers.py": (strays, "", "helpers.py"),
    "index/__init__.py": (crowded, '"""A room."""\nfrom recsys.index import flat', "index"),
    "data/a.py": (crowded, "", "data"),
    "ranking/a.py": (misplaced, "def f():\n    import torch.nn", "ranking/a.py imports torch"),
    "ranking/tree_ranker.py": (misplaced, "import lightgbm", "ranking/tree_ranker.py imports lightgbm at once"),
    "serving/a.py": (misplaced, "from starlette.requests import Request", "serving/a.py imports starlette"),
    "access/a.py": (environment, "import os\nX = os.environ.get('X')", "access/a.py"),
}


@pytest.mark.parametrize("path", PLANTED)
def test_a_planted_fault_is_found(tmp_path, path):
    """Each rule says which file breaks it, and how."""
    rule, text, told = PLANTED[path]
    package = tmp_path / "recsys"
    around = {"serving/gateway.py": "", "state/users.py": "", "shard/c.py": "from recsys.shard.b import x"}
    for file, content in (around | {path: text}).items():
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(content)
    assert told in rule(sources(package)), rule(sources(package))


def test_a_load_test_that_looks_inside_is_found(tmp_path):
    package = tmp_path / "load_tests"
    (package / "growth").mkdir(parents=True)
    (package / "comparison").mkdir()
    (package / "growth/a.py").write_text("from recsys.config.platform import Platform")
    (package / "growth/b.py").write_text("from load_tests.comparison.cluster import up")
    (package / "comparison/cluster.py").write_text("import ray")
    assert hands(sources(package)) == ["growth/a.py", "growth/b.py"]


@pytest.mark.parametrize("module", [*OURS, *RAYS])
def test_what_forks_are_to_have_exists(module):
    """A wrong name in the fork server's list would not fail there: it makes every start slow."""
    assert importlib.util.find_spec(module) is not None


def test_the_page_on_the_architecture_has_every_room():
    """With its layer and its one sentence."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| `recsys/(\w*)/?` \| ([^|]+) \|", page, re.MULTILINE)
    assert [(int(layer), room) for layer, room, _ in rows] == [
        (n, room) for n, rooms in enumerate(LAYERS) for room in rooms
    ]
    for _, room, sentence in rows[1:]:
        assert (ROOT / "recsys" / room / "__init__.py").read_text() == f'"""{sentence}"""\n'
