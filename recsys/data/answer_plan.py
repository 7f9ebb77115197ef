"""The plan of a batch run, which writes the recommendations of all users as Parquet files.

<folder>/
├── _SUCCESS              written last: the answers to all users are there; it says what was asked for
├── part-00000.parquet    the answers to a chunk of users
└── .making/              what is asked for, the users of each chunk, and a lock; gone when the run is complete

The users are listed once, when the run begins. A run that was interrupted goes on with the chunks that have no file.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recsys.data.answer_files import read_users, rows_in, write_users
from recsys.data.parquet_folders import SUCCESS
from recsys.errors import BadInput
from recsys.files import Drafts, replace

USERS_A_CHUNK = 2000
"""Some seconds of work, which is what a killed run loses of each worker."""

_MAKING, _ASKED = ".making", "asked.json"


@dataclass(frozen=True, slots=True)
class AnswerPlan:
    folder: Path
    chunks: Mapping[int, int]
    """Users of each chunk, by its number."""
    todo: tuple[int, ...]
    """Chunks without a file of answers."""

    @property
    def users(self) -> int:
        return sum(self.chunks.values())

    @property
    def waiting(self) -> int:
        """Users of the chunks to do."""
        return sum(self.chunks[chunk] for chunk in self.todo)

    def finish(self) -> None:
        """Mark the folder as complete."""
        request = (self.folder / _MAKING / _ASKED).read_bytes()
        replace(self.folder / SUCCESS, request)
        shutil.rmtree(self.folder / _MAKING)


def users_of(folder: Path, chunk: int) -> list[str]:
    return read_users(_users(folder, chunk))


def answers_file(folder: Path, chunk: int) -> Path:
    return folder / f"part-{chunk:05d}.parquet"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Allow one run at a time in a folder. Raises VersionError while another one is under way."""
    with Drafts(folder / _MAKING).alone():
        for unfinished in folder.glob(".part-*"):  # of a killed run
            shutil.rmtree(unfinished, ignore_errors=True)
        yield


def begun(folder: Path, request: bytes) -> AnswerPlan | None:
    """Return the plan of an interrupted run of the same kind; None: the folder holds nothing.

    Raises BadInput when it holds something else: a complete run, one of another kind, or files of another origin.
    """
    if (folder / SUCCESS).exists():
        raise BadInput(f"{folder}: holds the answers of a complete run; name an empty folder", field="out")
    there = folder / _MAKING / _ASKED
    if not there.exists():
        if others := sorted(path.name for path in folder.glob("[!.]*")):
            raise BadInput(f"{folder}: holds {others[0]}; name an empty folder", field="out")
        return None
    if (other := there.read_bytes()) != request:
        raise BadInput(
            f"{folder}: holds an interrupted run of {other.decode()}, and not of {request.decode()}; "
            "go on with that one, or name an empty folder",
            field="out",
        )
    return _plan(folder)


async def plan(folder: Path, request: bytes, users: AsyncIterable[str], per_chunk: int = USERS_A_CHUNK) -> AnswerPlan:
    """List the users, each once, and return the plan of a new run. `request`: what tells runs apart, as JSON.

    The caller holds `alone`.
    """
    seen: set[str] = set()  # Redis may name a user twice while it scans
    chunk: list[str] = []
    number = 0
    async for user in users:
        if user in seen:
            continue
        seen.add(user)
        chunk.append(user)
        if len(chunk) == per_chunk:
            write_users(_users(folder, number), chunk)
            chunk, number = [], number + 1
    if chunk:
        write_users(_users(folder, number), chunk)
    replace(folder / _MAKING / _ASKED, request)
    return _plan(folder)


def _plan(folder: Path) -> AnswerPlan:
    numbers = sorted(int(path.stem.removeprefix("users-")) for path in (folder / _MAKING).glob("users-*.parquet"))
    chunks = {number: rows_in(_users(folder, number)) or 0 for number in numbers}
    todo = [number for number, users in chunks.items() if rows_in(answers_file(folder, number)) != users]
    return AnswerPlan(folder, chunks, tuple(todo))


def _users(folder: Path, chunk: int) -> Path:
    return folder / _MAKING / f"users-{chunk:05d}.parquet"
