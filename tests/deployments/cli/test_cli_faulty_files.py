"""Files that grow, cannot be read or are folders, and a disk without room: one line each, and nothing half done."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from deployments.machine.serve_config import read_config
from recsys.config.serving import Limits, Serving
from recsys.errors import BadInput
from recsys.reading.readers import read_events, read_items
from recsys.versions.store import VersionStore
from tests.support.command import ITEMS, Recsys

ROOT = Path(__file__).parents[3]


def without_the_rights_of_root() -> None:
    """In a child process: root may read no more than what its permissions say. Needs no root where there is none."""
    libc = ctypes.CDLL(None)
    for right in (1, 2):  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h
        libc.prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP of linux/prctl.h


def small_files() -> None:
    """In a child process: no file may grow past 20 KB, as on a disk that is nearly full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def ended(config: Path, *arguments: object, first: Callable[[], None] | None = None) -> tuple[int, list[str]]:
    """Exit code and lines on stderr of a command in a process of its own."""
    line = [sys.executable, "-c", "from deployments.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(
        [*line, "--config", str(config), "--json"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        preexec_fn=first,
        check=False,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line.strip()]


def test_a_file_that_may_not_be_read_is_one_line(config: Path, films: Path) -> None:
    films.chmod(0)
    code, [line] = ended(config, "build", films, first=without_the_rights_of_root)
    assert (code, line) == (1, f"recsys: {films}: Permission denied")


def test_a_full_disk_is_one_line_and_leaves_no_version(config: Path, recsys: Recsys, tmp_path: Path) -> None:
    """The same build with room again ends."""
    file = tmp_path / "many.jsonl"
    rows = [ITEMS[0] | {"item_id": str(n), "title": f"Film {n}"} for n in range(800)]
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    code, [line] = ended(config, "build", file, "--promote", first=small_files)
    assert code == 1
    assert line.startswith("recsys: ")
    assert "is there room" in line
    store = VersionStore.of(read_config(config).platform)
    assert store.versions() == []
    assert store.current() is None
    assert recsys("build", file, "--promote", "--json").json["items"] == 800


@pytest.mark.parametrize("command", [("build",), ("import", "items"), ("import", "events"), ("train",)], ids=" ".join)
def test_a_folder_in_place_of_a_file_is_one_line(recsys: Recsys, tmp_path: Path, command: tuple[str, ...]) -> None:
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    assert f"{folder}: is a folder without _SUCCESS" in recsys(*command, folder).error()


@pytest.mark.parametrize("command", [("build",), ("import", "items"), ("import", "events"), ("train",)], ids=" ".join)
def test_a_file_that_is_not_there_is_one_line(recsys: Recsys, tmp_path: Path, command: tuple[str, ...]) -> None:
    assert "none.csv: No such file" in recsys(*command, tmp_path / "none.csv").error()


@pytest.mark.parametrize("change", ["grows", "shrinks"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, change: str) -> None:
    """After the rows that were whole: its last one may be half written, and nobody could tell."""
    file = tmp_path / "events.csv"
    rows = [f"u{n},i{n},like,{1_700_000_000 + n}" for n in range(20_000)]
    file.write_text("\n".join(["user_id,item_id,type,timestamp", *rows]))
    batches = read_events([file], Serving().event_types, Limits())
    first = next(batches)
    assert len(first.records) == 1000
    with file.open("r+b") as stream:
        if change == "grows":
            stream.seek(0, os.SEEK_END)
            stream.write(b"\nu1,i1,li")
        else:
            stream.truncate(file.stat().st_size - 7)
    with pytest.raises(BadInput, match=r"changed while it was read, from .* bytes; read it again when it is whole"):
        list(batches)


def test_a_file_that_stays_as_it_is_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_bytes(b"\n".join(map(orjson.dumps, ITEMS)))
    declared = {"genres": "keyword[]", "year": "number"}
    assert sum(len(batch.records) for batch in read_items([file, file], declared, Limits())) == 80  # type: ignore[arg-type]
