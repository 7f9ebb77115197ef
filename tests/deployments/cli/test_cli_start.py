"""How soon a command starts: what it imports before it does anything."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

import pytest

from deployments.cli.commands import COMMANDS, load
from tests.support.command import SLOW

CLIENTS = (
    *("down", "status", "apply", "scale", "hold", "release", "keys", "logs", "experiment", "report"),
    *("node", "versions", "promote", "rollback"),
)
"""They ask what runs or lies there already, and calculate nothing."""
CALCULATING = {"pyarrow", "scipy", "faiss", "hnswlib"}


def printed(code: str) -> list[str]:
    """The last line that a fresh interpreter prints for the code, by its words."""
    done = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


def first_importers(names: Iterable[str], packages: set[str]) -> list[str]:
    """Which of the commands, loaded one after another in one interpreter, imports which of the packages first."""
    return printed(
        "from deployments.cli.commands import load\n"
        f"told, packages = [], {packages!r}\n"
        f"for name in {list(names)!r}:\n"
        "    before = {module.split('.')[0] for module in sys.modules}\n"
        "    load(name)\n"
        "    new = {module.split('.')[0] for module in sys.modules} - before\n"
        "    told += [f'{name}:{package}' for package in sorted(new & packages)]\n"
        "print('importers', *told)"
    )[1:]


def test_a_command_that_only_asks_starts_without_what_calculates() -> None:
    """And without what takes seconds, which `tests/test_imports.py` holds of every command."""
    seen = first_importers(CLIENTS, SLOW | CALCULATING | {"httpx"})
    assert {one.partition(":")[2] for one in seen} == {"httpx"}  # which shows that importers are seen


def test_help_imports_next_to_nothing() -> None:
    """Not even numpy: the list of commands stands in a table."""
    code = "sys.argv = ['recsys', '--help']; from deployments.cli import make_cli; make_cli()(standalone_mode=False)"
    imported = printed(f"{code}; print(*{{name.split('.')[0] for name in sys.modules}})")
    assert "deployments" in imported
    assert not set(imported) & (SLOW | CALCULATING | {"numpy", "redis", "httpx"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_commands_say(name: str) -> None:
    """Each line of `recsys --help` is the beginning of the command's own help."""
    said = " ".join((load(name).help or "").split())
    assert said.startswith(COMMANDS[name][1].rstrip(".")), said
