"""How soon a command starts: what it imports before it does anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deployments.cli.commands import COMMANDS, load

SLOW = {
    "ray", "torch", "transformers", "sentence_transformers", "pandas", "lightgbm", "sklearn", "matplotlib", "onnx",
    "onnxruntime", "onnxscript", "fastapi",
}  # fmt: skip
"""Each takes tenths of seconds to import, or seconds."""
CLIENTS = ("down", "status", "scale", "hold", "release", "keys", "apply", "logs")
"""They ask what runs already, and calculate nothing."""
CALCULATING = {"pyarrow", "scipy", "faiss", "hnswlib"}


def imported_by(code: str) -> set[str]:
    """Top-level packages in a fresh interpreter after the code."""
    told = "; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}{told}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_starts_without_what_takes_seconds_to_import(name: str) -> None:
    """What a command may need later it imports then, when it has said what it does."""
    found = imported_by(f"from deployments.cli.commands import load; load({name!r})")
    assert not found & (SLOW | (CALCULATING if name in CLIENTS else set()))


def test_help_imports_next_to_nothing() -> None:
    """Not even numpy: the list of commands stands in a table."""
    code = "sys.argv = ['recsys', '--help']; from deployments.cli import make_cli; make_cli()(standalone_mode=False)"
    assert not imported_by(code) & (SLOW | CALCULATING | {"numpy", "redis", "httpx"})


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_the_commands_say(name: str) -> None:
    """Each line of `recsys --help` is the beginning of the command's own help."""
    said = " ".join((load(name).help or "").split())
    assert said.startswith(COMMANDS[name][1].rstrip(".")), said
