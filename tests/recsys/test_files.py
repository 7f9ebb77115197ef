"""Files are whole or not there, private where that is asked for, and locked by one process at a time."""

from __future__ import annotations

import stat
import subprocess
import sys

import pytest

from recsys.errors import VersionError
from recsys.files import checksums, intact, locked, replace, whole

HOLD = """
import sys
from pathlib import Path
from recsys.errors import VersionError
from recsys.files import locked
with locked(Path(sys.argv[1]), VersionError("busy")):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_changes_nothing(tmp_path):
    """The file keeps its content, and nothing is left beside it."""
    file = tmp_path / "a" / "CURRENT"
    replace(file, b"first")
    with pytest.raises(FileNotFoundError), whole(file) as part:  # noqa: PT012 - what it checks is what the block leaves
        part.write_bytes(b"half")
        assert file.read_bytes() == b"first"
        part.unlink()
    assert file.read_bytes() == b"first"
    replace(file, b"second")
    assert file.read_bytes() == b"second"
    assert names(file.parent) == ["CURRENT"]


def test_a_private_file_is_never_open_to_others(tmp_path):
    """Where it is made nobody else can look, and it has its mode before its name."""
    file = tmp_path / "token"
    with whole(file, mode=0o600) as part:
        part.write_text("secret")
        assert stat.S_IMODE(part.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_folder_is_intact_until_a_file_of_it_changes(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    sums = checksums(tmp_path)
    assert intact(tmp_path, sums)
    (tmp_path / "b").write_text("3")
    assert not intact(tmp_path, sums)
    (tmp_path / "b").unlink()
    assert not intact(tmp_path, sums)


def test_a_lock_is_one_processs_until_that_ends(tmp_path):
    """Another one is refused at once, or waits as long as it says."""
    file = tmp_path / "run" / "lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(VersionError, match="busy here"), locked(file, VersionError("busy here")):
            pass
        other.kill()
        with locked(file, VersionError("busy here"), wait_s=20):
            pass
