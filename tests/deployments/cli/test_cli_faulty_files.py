"""Files that grow, cannot be read or are folders, and a disk without room: one line each, and nothing half done."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from deployments.cli import main
from deployments.machine.serve_config import read_config
from recsys.config.serving import Limits, Serving
from recsys.errors import BadInput
from recsys.reading.readers import read_events, read_items
from recsys.versions.store import VersionStore
from tests.support import served_world
from tests.support.command import ITEMS, Recsys


def without_the_rights_of_root() -> None:
    """In a child process: root may read no more than what its permissions say. Needs no root where there is none."""
    libc = ctypes.CDLL(None)
    version = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    rights = (ctypes.c_uint32 * 6)()  # twice what is effective, permitted and inherited
    assert libc.capget(version, rights) == 0
    rights[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of linux/capability.h
    assert libc.capset(version, rights) == 0


def small_files() -> None:
    """In a child process: no file may grow past 20 KB, as on a disk that is nearly full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def ended(said: Path, first: Callable[[], None], config: Path, *arguments: object) -> tuple[int | None, list[str]]:
    """Exit code and lines on stderr of a command in a process of its own."""
    process = served_world.in_a_fork(_command, said, first, *map(str, arguments), "--config", str(config), "--json")
    process.join(240)
    return process.exitcode, [line for line in said.read_text().splitlines() if line.strip()]


def _command(said: Path, first: Callable[[], None], *arguments: str) -> None:
    os.environ["COLUMNS"] = "300"
    with said.open("w") as file:
        os.dup2(file.fileno(), 2)
    first()
    sys.argv = ["recsys", *arguments]
    main()


def test_a_file_that_may_not_be_read_is_one_line(config: Path, films: Path, tmp_path: Path) -> None:
    films.chmod(0)
    code, [line] = ended(tmp_path / "said", without_the_rights_of_root, config, "build", films)
    assert (code, line) == (1, f"recsys: {films}: Permission denied")


def test_a_full_disk_is_one_line_and_leaves_no_version(config: Path, recsys: Recsys, tmp_path: Path) -> None:
    """The same build with room again ends."""
    file = tmp_path / "many.jsonl"
    rows = [ITEMS[0] | {"item_id": str(n), "title": f"Film {n}"} for n in range(800)]
    file.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    code, [line] = ended(tmp_path / "said", small_files, config, "build", file, "--promote")
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
