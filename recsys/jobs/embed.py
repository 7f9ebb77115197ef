"""Encoding a catalogue into Parquet files with vectors, for `recsys build FOLDER`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from recsys.config.whole import Config
from recsys.data.embedding_plan import Plan, alone, plan, to_encode
from recsys.data.vector_chunks import Written
from recsys.datatypes import Item
from recsys.encoders.catalogue import Progress, WhenNeeded


class Step(msgspec.Struct, frozen=True):
    """Progress of a run."""

    workers: int
    written: Written | None = None
    """The chunk that was written. None: the workers are about to start."""


@dataclass(frozen=True, slots=True)
class Embedded:
    items: int
    files: int
    """Chunks, one Parquet file each."""
    encoded: int
    """Items whose text was encoded. The other vectors existed."""
    workers: int
    """0: there was nothing to do."""
    seconds: float
    """Seconds since the start of the workers, with the time to load the model."""

    @property
    def kept(self) -> int:
        """Items whose vector existed."""
        return self.items - self.encoded

    @property
    def items_per_s(self) -> float | None:
        """Encoded items per second. None: nothing was encoded."""
        return round(self.encoded / self.seconds, 1) if self.encoded else None


def embed(
    items: Sequence[Item],
    folder: Path,
    config: Config,
    say: Progress,
    run: Callable[[Plan], Iterator[Step]],
) -> Embedded:
    """Encode the items into the folder. `run` writes the chunks of a plan and yields its progress.

    An interrupted run continues after its finished chunks. Raises VersionError while another run is under way in the
    folder, and BadInput when it holds Parquet files that `recsys embed` did not write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = _fingerprint(config, say)
    with alone(folder):
        todo = plan(folder, items, fingerprint, config.platform.attributes)
        encoded, workers, seconds = _encoded(todo, say, run)
        todo.finish()
    return Embedded(todo.items, len(todo.chunks), encoded, workers, seconds)


def texts_to_encode(items: Sequence[Item], folder: Path, config: Config, say: Progress) -> int:
    """Return the number of texts that `embed` would encode. Writes nothing."""
    return to_encode(folder, items, _fingerprint(config, say))


def _fingerprint(config: Config, say: Progress) -> str:
    """Return the encoder's fingerprint. The encoder is exported first if its backend needs that."""
    return WhenNeeded(config.platform, os.cpu_count() or 1, say).fingerprint


def _encoded(todo: Plan, say: Progress, run: Callable[[Plan], Iterator[Step]]) -> tuple[int, int, float]:
    """Return the number of encoded items, the workers and the seconds."""
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
