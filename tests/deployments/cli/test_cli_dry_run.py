"""`--dry-run` of every command that changes anything: it says what would be done, and changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.cli.commands import COMMANDS, load
from tests.support.command import Recsys

ONLY_LOOK = {
    *("status", "logs", "inspect", "versions", "evaluate", "partition", "report", "backups"),
    *("experiment report", "experiment list", "experiment off-policy"),
}
"""Commands that change nothing: neither the platform, nor its versions, nor any file but one that is asked for."""

SAYS_ONLY = {"--dry-run", "--no-write"}
"""`--no-write` is of a command whose one change is the config file, which it measures a setting for."""

Unchanged = Callable[[], None]


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """A command, or those of a group, with their names."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for word, one in inner.items():
        yield from leaves(one, f"{name} {word}")


def test_every_command_that_changes_something_has_a_dry_run() -> None:
    """Of the table of commands; one that only looks is named above."""
    found = {name: command for word in COMMANDS for name, command in leaves(load(word), word)}
    options = {name: {o for p in one.params for o in (*p.opts, *p.secondary_opts)} for name, one in found.items()}
    dry = {name for name, given in options.items() if given & SAYS_ONLY}
    lacking = found.keys() - dry - ONLY_LOOK
    assert not lacking, f"these change something and have no --dry-run: {', '.join(sorted(lacking))}"
    assert not dry & ONLY_LOOK


@pytest.fixture
def unchanged(tmp_path: Path) -> Unchanged:
    """Asserts that no file of the test has changed, come or gone since the last call."""

    def seen() -> dict[str, str]:
        files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before: list[dict[str, str]] = []

    def check() -> None:
        now = seen()
        assert not before or now == before[-1]
        before.append(now)

    return check


def test_of_a_start_and_an_end(recsys: Recsys, films: Path, unchanged: Unchanged) -> None:
    """The version, the address, and all that a start would refuse; nothing is built or started."""
    recsys("build", films)  # makes the folders that a build makes
    unchanged()
    done = recsys("up", "--dry-run")
    assert done.code == 0
    assert "with an empty version, as none is there, at http://127.0.0.1:" in done.err
    assert recsys("up", "--dry-run", "--json").json["version"] is None
    assert recsys("down", "--dry-run", "--json").json == {"dry_run": True, "processes": 0}
    assert "would stop 0 processes of the platform of" in recsys("down", "--dry-run").err
    unchanged()
    promoted = recsys("build", films, "--promote", "--json").json
    assert promoted["serving"] is False
    assert recsys("up", "--dry-run", "--json").json["version"] == promoted["version"]


def test_of_a_start_that_would_be_refused(recsys: Recsys, config: Path, unchanged: Unchanged) -> None:
    """As the start refuses it: an open API without keys."""
    config.write_text(config.read_text().replace("127.0.0.1", "0.0.0.0"))
    unchanged()
    assert "recsys keys new" in recsys("up", "--dry-run").error()
    unchanged()


def test_of_the_demo(recsys: Recsys, unchanged: Unchanged, tmp_path: Path) -> None:
    unchanged()
    done = recsys("demo", "--dry-run")
    assert f"would fetch MovieLens 100K into {tmp_path / 'var' / 'ml-100k'}, build a version of its films" in done.err
    assert recsys("demo", "--dry-run", "--json").json["fetch"] is True
    unchanged()


def test_the_demo_does_not_take_the_place_of_another_catalogue(
    recsys: Recsys, films: Path, unchanged: Unchanged, config: Path
) -> None:
    """In one line, with what to type instead, before anything is fetched, built or started."""
    assert recsys("build", films, "--promote").code == 0
    unchanged()
    for words in ((), ("--dry-run",)):
        said = recsys("demo", *words).error()
        assert "a catalogue of your own" in said
        assert f"recsys up --config {config}" in said
        assert "data_dir" in said
    unchanged()


def test_of_a_key(run: Recsys, tmp_path: Path, unchanged: Unchanged) -> None:
    """What is wrong with it is told; what is right makes no key, and shows no hash of one."""
    keys = tmp_path / "keys.yaml"
    made = ("keys", "new", "shop", "--scope", "read", "--into", keys)
    unchanged()
    done = run(*made, "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert f"would make a key shop of scope read and add its entry to {keys}. Nothing was changed." in done.err
    planned = run(*made, "--rate", "5", "--dry-run", "--json").json
    assert planned == {"dry_run": True, "entry": {"name": "shop", "scopes": ["read"], "rate": 5.0}}
    assert "scopes" in run("keys", "new", "shop", "--scope", "everything", "--dry-run").error()
    unchanged()
    assert run(*made).code == 0
    assert "has a key shop already" in run(*made, "--dry-run").error()


def test_of_what_needs_a_platform(recsys: Recsys, unchanged: Unchanged) -> None:
    """It is one line where none runs."""
    unchanged()
    experiments = [
        ("experiment", "start", "wide", "--variant", "b={}"), ("experiment", "ramp", "wide", "0.5"),
        ("experiment", "stop", "wide"),
    ]  # fmt: skip
    for command in (("scale", "shard-0", "2"), ("hold",), ("release",), ("apply",), *experiments):
        done = recsys(*command, "--dry-run")
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1].startswith("recsys: the platform is not up; start it with: recsys up")
    unchanged()
