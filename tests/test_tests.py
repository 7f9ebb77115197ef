"""What tests are made of: they ask what anybody may ask, and are named alike in every process."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
OTHERS = {"_apply_autoscaling_config", "_exit", "_wait_for_hap_availability"}
"""Names of other packages that have no public one: what Serve puts around a policy, how a fork ends, how Serve waits
for HAProxy.
"""


def is_private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.endswith("__") and name not in OTHERS


def private_names(tree: ast.AST) -> Iterator[str]:
    """What is used of the private parts of something else: attributes, imported names, and names in strings."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                continue
            case ast.Attribute(attr=name) if is_private(name):
                yield f"{node.lineno}: {ast.unparse(node)}"
            case ast.ImportFrom(module=module, names=names) if module and module.startswith(("recsys", "deployments")):
                yield from (f"{node.lineno}: {module}.{alias.name}" for alias in names if is_private(alias.name))
            case ast.Call(func=ast.Name(id="getattr" | "setattr") | ast.Attribute(attr="setattr" | "delattr")):
                named = [
                    part for arg in node.args[:2] if isinstance(arg, ast.Constant) for part in str(arg.value).split(".")
                ]
                yield from (f"{node.lineno}: {ast.unparse(node)}" for name in named if is_private(name))


def test_private_names_are_found() -> None:
    text = """
from recsys.index import _node
world._redis.get()
getattr(store, "_fs")
monkeypatch.setattr(schedule, "_LOCK_S", 1)
monkeypatch.setattr("recsys.jobs.schedule._LOOK_S", 1)
self._mine = queue.__len__()
"""
    assert len(list(private_names(ast.parse(text)))) == 5


def test_no_test_reaches_for_what_is_private() -> None:
    """What a test needs to see is worth a public name, and what it need not see may change without it."""
    reached = {
        str(path.relative_to(TESTS)): list(private_names(ast.parse(path.read_text(encoding="utf-8"))))
        for path in sorted(TESTS.rglob("*.py"))
    }
    assert {path: names for path, names in reached.items() if names} == {}
