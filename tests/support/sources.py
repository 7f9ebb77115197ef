"""What the files of a package import, read from their syntax trees in one pass."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CONFIG = "config/"
"""A file for each section of the settings; they belong to recsys/ itself."""


@dataclass(frozen=True)
class Source:
    """A file of a package, by its path there."""

    path: str
    files: frozenset[str]
    """Those of its own package that it imports."""
    packages: frozenset[str]
    """Other packages that it imports, wherever in it."""
    at_once: frozenset[str]
    """Those of them that it imports outside its functions."""
    sentence: bool
    """Whether it is one line of documentation and nothing else."""
    environment: bool
    """Whether it reads or changes the variables of the process."""

    @property
    def room(self) -> str:
        return room_of(self.path)


def room_of(path: str) -> str:
    """The folder of a file; of one in config/, recsys/ itself."""
    return "" if path.startswith(CONFIG) else path.rpartition("/")[0]


def sources(package: Path) -> list[Source]:
    paths = {str(path.relative_to(package)): path for path in sorted(package.rglob("*.py"))}
    return [
        _source(path, ast.parse(file.read_text(encoding="utf-8")), package.name, paths) for path, file in paths.items()
    ]


def _source(path: str, tree: ast.Module, package: str, paths: Mapping[str, Path]) -> Source:
    nodes = list(ast.walk(tree))
    names = set(imports(nodes))
    own = {_file_of(name, paths) for name in names if name.split(".")[0] == package}
    return Source(
        path,
        files=frozenset(own - {None, path}),
        packages=frozenset(name.split(".")[0] for name in names) - {package},
        at_once=frozenset(name.split(".")[0] for name in imports(_outside_functions(tree))),
        sentence=[type(node) for node in tree.body] == [ast.Expr] and "\n" not in (ast.get_docstring(tree) or "\n"),
        environment=any(_is_environment(node) for node in nodes),
    )


def _is_environment(node: ast.AST) -> bool:
    names = isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "putenv")
    return names and isinstance(node.value, ast.Name) and node.value.id == "os"


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from _outside_functions(child)


def imports(nodes: list[ast.AST] | Iterator[ast.AST]) -> Iterator[str]:
    """Dotted names, as long as they may be: `from a import b` gives a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str, paths: Mapping[str, Path]) -> str | None:
    """The file of a module, or of the module that a name stands in; None: of the package itself."""
    parts = name.split(".")[1:]
    places = ["/".join(parts[:end]) for end in (len(parts), len(parts) - 1)]
    return next((file for place in places for file in (f"{place}.py", f"{place}/__init__.py") if file in paths), None)
