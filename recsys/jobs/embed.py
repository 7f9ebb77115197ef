"""A catalogue and its vectors as Parquet, for `recsys build FOLDER`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from recsys.config import Config
from recsys.data.embedding_plan import Plan, alone, plan, to_encode
from recsys.data.vector_chunks import Written
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress, WhenNeeded


class Step(msgspec.Struct, frozen=True):
    """What workers have done next."""

    workers: int
    written: Written | None = None
    """The chunk that was written; None: the workers are about to start."""


@dataclass(frozen=True, slots=True)
class Embedded:
    items: int
    files: int
    """Chunks, a Parquet file each."""
    encoded: int
    """Items whose text was encoded; the other vectors were there."""
    workers: int
    """0: there was nothing to do."""
    seconds: float
    """From the start of the workers on, which includes that each loads the model."""

    @property
    def kept(self) -> int:
        """Items whose vector was there."""
        return self.items - self.encoded

    @property
    def items_per_s(self) -> float | None:
        """None: nothing was encoded."""
        return round(self.encoded / self.seconds, 1) if self.encoded else None


def embed(
    items: Sequence[Item],
    folder: Path,
    config: Config,
    say: Progress,
    run: Callable[[Plan], Iterator[Step]],
) -> Embedded:
    """Have the texts of whole item files encoded into the folder by `run`, which makes the chunks of a plan.

    A run that died goes on behind the chunks that it finished. Raises VersionError while another run is under way in
    the folder, BadInput when it holds Parquet files of someone else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(config, say)
    with alone(folder):
        todo = plan(folder, items, fingerprint, config.platform.attributes)
        encoded, workers, seconds = _encoded(todo, say, run)
        todo.finish()
    return Embedded(todo.items, len(todo.chunks), encoded, workers, seconds)


def texts_to_encode(items: Sequence[Item], folder: Path, config: Config, say: Progress) -> int:
    """How many `embed` would encode; the folder stays as it is."""
    return to_encode(folder, items, _fingerprint(config, say))


def _fingerprint(config: Config, say: Progress) -> str:
    """Of the encoder, which is exported for it where its backend needs that."""
    return WhenNeeded(config.platform, os.cpu_count() or 1, say).fingerprint


def _encoded(todo: Plan, say: Progress, run: Callable[[Plan], Iterator[Step]]) -> tuple[int, int, float]:
    """Items that were encoded, workers and seconds."""
    say("embed", 0, todo.waiting)
    done = encoded = workers = 0
    start = time.perf_counter()
    for step in run(todo) if todo.todo else ():
        if step.written is None:
            start, workers = time.perf_counter(), step.workers
        else:
            done, encoded = done + step.written.items, encoded + step.written.encoded
            say("embed", done, todo.waiting)
    return encoded, workers, time.perf_counter() - start
