"""Files and folders that are whole or not there at all, checksums of them, and locks on them."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from recsys.errors import RecsysError, RuntimeFailure, VersionError

_LOOK_S = 0.05
"""Seconds between two looks at a lock that another process has."""


def sha256(path: Path) -> str:
    """Of the file's content, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """File name -> SHA-256, of all that lies in the folder."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


def intact(folder: Path, expected: Mapping[str, str]) -> bool:
    """Whether the folder has every file that `checksums` told of, unchanged."""
    return all((folder / name).is_file() and sha256(folder / name) == value for name, value in expected.items())


@contextmanager
def whole(path: Path, mode: int | None = None) -> Iterator[Path]:
    """A path to write to, whose file takes the place of `path` when the block ends without an error.

    It is on the disk before readers see it, and so is its name when the block has ended. `mode`: its permissions; until
    it has them only its owner can open it. None: those of any new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        part = Path(scratch) / path.name
        yield part
        if mode is not None:
            part.chmod(mode)
        sync(part)
        part.replace(path)
    sync(path.parent)


def replace(path: Path, content: bytes, mode: int | None = None) -> None:
    """All of it or nothing, on the disk when this returns; see `whole`."""
    with whole(path, mode) as part:
        part.write_bytes(content)


def sync(path: Path) -> None:
    """What is renamed into place must be on the disk first."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Turn the errors of a store into OSError, for each library raises its own. `url`: the store's, for the message."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{url} cannot be reached: {error or type(error).__name__}") from error


@contextmanager
def locked(path: Path, busy: RecsysError, wait_s: float = 0.0) -> Iterator[int]:
    """One process at a time: it alone has the file locked, and the lock ends with it. Gives the file's descriptor.

    Raises `busy` when another process has the lock for longer than `wait_s`, RuntimeFailure as for `lock`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while not lock(handle, path):
            if time.monotonic() >= deadline:
                raise busy
            time.sleep(_LOOK_S)
        yield handle
    finally:
        os.close(handle)


def lock(handle: int, path: Path) -> bool:
    """Lock the open file if nobody else has: whether it is locked now. RuntimeFailure where files cannot be locked."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise RuntimeFailure(f"{path} cannot be locked ({error.strerror}): put data_dir on a local disk") from None
    return True


class Drafts:
    """Folders in the making: hidden, and kept when a build dies so that the same build goes on where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One build at a time: VersionError while another one is under way. Ends with the process that holds it."""
        with locked(self.folder / "lock", VersionError("another build is under way; wait for it")):
            yield

    @contextmanager
    def changing(self) -> Iterator[None]:
        """CURRENT is read, changed and written by one process after another."""
        with locked(self.folder / "current.lock", VersionError("CURRENT is being changed"), math.inf):
            yield

    @contextmanager
    def draft(self, key: str, before: Callable[[Path], None] = lambda _: None) -> Iterator[Path]:
        """The folder of the build that `key` stands for. To be used within `alone`.

        When it is left in order the folder is gone, and so are those that earlier builds left behind. A build that
        failed its checks would fail again: its folder goes as well. After anything else it stays. `before` is called
        with each folder that is removed.
        """
        folder = self.folder / key
        folder.mkdir(parents=True, exist_ok=True)
        try:
            yield folder
        except VersionError:
            before(folder)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for left in self.folder.iterdir():
            if left.is_dir():
                before(left)
                shutil.rmtree(left, ignore_errors=True)
            elif left.suffix == ".json":
                left.unlink()
