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


def test_importing_the_domain_brings_neither_the_platform_nor_torch():
    """Every module of recsys/ at once. That there is no circle among them, `test_rooms.py` reads from the sources."""
    names = [m.name for m in pkgutil.walk_packages(recsys.__path__, "recsys.") if m.name not in WITH_TORCH]
    code = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        f"late = {{m.split('.')[0] for m in sys.modules}} & {(PLATFORM | {'torch', 'sentence_transformers'})!r}\n"
        "assert not late, late\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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


REPLICAS = """
import sys, importlib, json

every, imported = {"deployments.composer", "deployments.shard", "deployments.encoder"}, {}
for name in sorted(every):
    importlib.import_module(name)
    imported[name] = [sorted({m.split(".")[0] for m in sys.modules}), sorted(every & set(sys.modules))]
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
print(json.dumps({"imported": imported, "given": given}))
"""


@pytest.fixture(scope="module")
def replicas() -> dict[str, Any]:
    """Of each kind of replica, the packages that were imported then, and which of the kinds are there; the classes of
    what all are made of. One after the other in one process, which forgets each: one that another imports would be
    there again.
    """
    done = subprocess.run([sys.executable, "-c", REPLICAS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_replica_imports_no_more_than_it_needs(replicas):
    """What training and trees need takes as long to import as all the rest, and a new replica is waited for."""
    heavy = {"lightgbm", "sklearn", "torch", "transformers", "sentence_transformers", "matplotlib"}
    assert len(replicas["imported"]) == 3
    for name, (packages, kinds) in replicas["imported"].items():
        assert not heavy & set(packages), name
        assert "ray" in packages
        assert kinds == [name]


def test_what_replicas_are_made_of_is_of_no_file_that_imports_them_all(replicas):
    """A replica unpickles its arguments: an AppArgs among them would bring every deployment's libraries."""
    assert len(replicas["given"]) >= 4
    assert set(replicas["given"]) == {"Platform"}


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
