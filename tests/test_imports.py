"""What an import brings along, and that nothing is unpickled. Who may import whom: see `test_rooms.py`."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

import recsys
from tests.support.command import SLOW

ROOT = Path(recsys.__file__).parents[1]
DOMAIN = sorted((ROOT / "recsys").rglob("*.py"))
PLATFORM = {"ray", "starlette", "fastapi", "uvicorn", "deployments"}


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Imports and calls of a file, wherever in it."""
    every = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in every if isinstance(node, ast.Import | ast.ImportFrom | ast.Call)]


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in it."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


WITH_TORCH = {
    "recsys.encoders.torch_encoder", "recsys.encoders.export", "recsys.encoders.quiet_libraries",
    "recsys.training.attention",
}  # fmt: skip
"""Imported only where they are needed: torch takes seconds and hundreds of MB."""
WITH_ONNX = {"recsys.encoders.bert_export", "recsys.encoders.onnx_encoder", "recsys.encoders.quantisation"}
"""Likewise; onnxruntime takes half a second and starts threads."""
NOT_IN_THE_IMAGE = {"torch", "sentence_transformers", "transformers", "onnx", "onnxscript"}

IN_TURN = """
import importlib, importlib.abc, json, sys

domain, with_onnx, hidden = map(json.loads, sys.argv[1:])
every, told = {"deployments.composer", "deployments.shard", "deployments.encoder"}, {}

class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(name)

def note(name):
    told[name] = sorted({m.split(".")[0] for m in sys.modules})

sys.meta_path.insert(0, Hidden())
for name in domain:
    importlib.import_module(name)
note("domain")

from deployments.cli import main
from deployments.cli.commands import COMMANDS, load

for name in COMMANDS:
    load(name)
note("commands")

kinds = {}
for name in sorted(every):
    importlib.import_module(name)
    note(name)
    kinds[name] = sorted(every & set(sys.modules))
    del sys.modules[name]

from deployments.app import AppArgs, build_app
from recsys.config.platform import Platform

seen, given = [build_app(AppArgs(shards=2))._bound_deployment], []
while seen:
    one = seen.pop()
    for arg in one.init_args:
        flat = arg if isinstance(arg, list) else [arg]
        given += [type(a).__name__ for a in flat if isinstance(a, Platform)]
        seen += [a._bound_deployment for a in flat if hasattr(a, "_bound_deployment")]

import deployments.unattended, deployments.api.app, recsys.serving.encoder_replica

sys.argv = ["recsys", "train", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code

hidden.clear()
for name in with_onnx:
    importlib.import_module(name)
note("with onnx")
from recsys.ranking.tree_ranker import library

library()
note("lightgbm")
print(json.dumps({"imported": told, "kinds": kinds, "given": given}))
"""


@pytest.fixture(scope="module")
def in_turn() -> dict[str, Any]:
    """Everything that a node runs is imported in one process, with what the image lacks hidden: the domain, the
    commands, each kind of replica, a command's help; then what has ONNX, and LightGBM. Gives the packages that were
    imported after each, which of the kinds were there with each, and the classes of what all replicas are made of. The
    process forgets each kind before the next: one that another imports would be there again.
    """
    modules = {m.name for m in pkgutil.walk_packages(recsys.__path__, "recsys.")} - WITH_TORCH
    lists = (sorted(modules - WITH_ONNX), sorted(WITH_ONNX), sorted(NOT_IN_THE_IMAGE))
    command = [sys.executable, "-c", IN_TURN, *map(json.dumps, lists)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_importing_the_domain_brings_neither_the_platform_nor_torch(in_turn):
    """Every module of recsys/ at once. That there is no circle among them, `test_rooms.py` reads from the sources."""
    late = PLATFORM | {"torch", "sentence_transformers"}
    assert late & set(in_turn["imported"]["domain"]) == set()
    assert {"torch", "sentence_transformers"} & set(in_turn["imported"]["with onnx"]) == set()


def test_a_command_starts_without_what_takes_seconds_to_import(in_turn):
    """What a command may need later it imports then, when it has said what it does."""
    assert set(in_turn["imported"]["commands"]) & SLOW == set()
    assert {"typer", "numpy"} <= set(in_turn["imported"]["commands"])


def test_a_replica_imports_no_more_than_it_needs(in_turn):
    """What training and trees need takes as long to import as all the rest, and a new replica is waited for."""
    heavy = {"lightgbm", "sklearn", "torch", "transformers", "sentence_transformers", "matplotlib"}
    assert len(in_turn["kinds"]) == 3
    for name, kinds in in_turn["kinds"].items():
        packages = in_turn["imported"][name]
        assert not heavy & set(packages), name
        assert "ray" in packages
        assert kinds == [name]


def test_lightgbm_comes_without_scikit_learn(in_turn):
    """It imports that for classes that nobody uses, and with it takes four times as long."""
    assert "lightgbm" in in_turn["imported"]["lightgbm"]
    assert not {"sklearn", "joblib"} & set(in_turn["imported"]["lightgbm"])


def test_what_replicas_are_made_of_is_of_no_file_that_imports_them_all(in_turn):
    """A replica unpickles its arguments: an AppArgs among them would bring every deployment's libraries."""
    assert len(in_turn["given"]) >= 4
    assert set(in_turn["given"]) == {"Platform"}


UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def unpickling(path: Path) -> list[str]:
    """What a file imports or calls that unpickles."""
    found = sorted(imported(path) & UNPICKLERS)
    for node in nodes(path):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            call, named = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            if (
                call in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle")
                or (call == "np.load" and named.get("allow_pickle") != "False")
                or (call == "torch.load" and named.get("weights_only") != "True")
            ):
                found.append(f"{node.lineno}: {call}")
    return found


def test_nothing_is_unpickled():
    """What is unpickled runs. Arrays are loaded without it, weights by their library as plain tensors, YAML safely."""
    sources = [*DOMAIN, *sorted((ROOT / "deployments").rglob("*.py"))]
    found = {str(path.relative_to(ROOT)): unpickling(path) for path in sources}
    assert len(found) > 400
    assert {path: what for path, what in found.items() if what} == {}


def test_unpickling_is_found(tmp_path):
    text = (
        "import pickle\nnp.load(a)\nnp.load(a, allow_pickle=False)\nyaml.load(b)\ntorch.load(c, weights_only=False)\n"
    )
    (tmp_path / "a.py").write_text(text)
    assert unpickling(tmp_path / "a.py") == ["pickle", "2: np.load", "4: yaml.load", "5: torch.load"]


UNIMPORTED = {"fastapi-offline", "onnxscript", "pandas"}
"""Of the first only files are taken; torch's ONNX exporter imports the second, Ray Data the third, and both say only at
run time that they miss it."""


def test_what_is_declared_is_imported():
    """A dependency that nobody imports would be installed and kept up to date for nothing."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = {re.match(r"[\w.-]+", line)[0].lower() for line in declared}
    sources = [path for folder in ("recsys", "deployments", "load_tests") for path in (ROOT / folder).rglob("*.py")]
    modules = set().union(*map(imported, sources))
    distributions = packages_distributions()  # reads the metadata of every package
    used = {name.lower() for module in modules for name in distributions.get(module, [])}
    assert names - used - UNIMPORTED == set()


def test_what_a_request_is_given_is_read():
    """Each entry that our ASGI layers add to a request's scope has a reader."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "deployments").rglob("*.py")]
    named = [name for text in texts for name in re.findall(r"""["'](recsys\.\w+)["'](?:\]|\)| in scope)""", text)]
    written = {name for text in texts for name in re.findall(r"""scope\[["'](recsys\.\w+)["']\] = """, text)}
    assert len(written) > 3
    assert {name for name in written if named.count(name) < 2} == set()
