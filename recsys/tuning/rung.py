"""A catalogue, or a sample of it, on which settings are tried one after another: each indexed, then measured apart."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.columns import Column
from recsys.config.index import IndexSpec
from recsys.config.platform import AttributeType
from recsys.config.tuning import ShardTuning
from recsys.datatypes import Filter, Floats, Item, Rows
from recsys.shard.attributes import Attributes
from recsys.shard.sketches import Sketcher
from recsys.shard.snapshot import write_index, write_rows, write_vectors
from recsys.shard.vector_names import vector_names
from recsys.tuning.questions import Answers, Questions, numbered
from recsys.tuning.settings import tried_efforts
from recsys.tuning.trial import Exam, Measure, Measurement, measure_apart

_WARM = 64
"""Items of the shard that a process reads before its memory is looked at."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All items of a version: row i of the (n, width) float32 `vectors` is item i; `parts` are the rows of shards."""

    items: Sequence[Item]
    vectors: Floats
    parts: tuple[Rows, ...]
    declared: Mapping[str, AttributeType]

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, n: int, seed: int = 7) -> Catalogue:
        """Random items, n of them, as one shard."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self))[:n])
        return Catalogue(
            [self.items[row] for row in rows.tolist()], self.vectors[rows], (np.arange(len(rows)),), self.declared
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting, measured on `items` items."""

    spec: IndexSpec
    items: int
    build_s: float
    """By the clock, on all cores."""
    measurement: Measurement

    @property
    def bytes_an_item(self) -> float:
        """Of the process that serves them: index, vectors, and all that a shard keeps of an item."""
        return self.measurement.grown_bytes / max(self.items, 1)


class Rung:
    """Files of a catalogue in a folder. Settings that differ in `originals` alone share an index."""

    def __init__(
        self,
        catalogue: Catalogue,
        folder: Path,
        tuning: ShardTuning,
        recall: float,
        measure: Measure = measure_apart,
    ) -> None:
        self._catalogue, self._folder, self._measure = catalogue, folder, measure
        self._tuning, self._recall = tuning, recall
        self._folders = tuple(folder / f"shard-{number}" for number in range(len(catalogue.parts)))
        self._order = np.concatenate(catalogue.parts)
        """Rows of the catalogue in the order of the files."""
        self._indexed: IndexSpec | None = None
        self._build_s = 0.0
        self._exam: Exam | None = None
        sketcher = Sketcher.fit(catalogue.vectors)
        for part, path in zip(catalogue.parts, self._folders, strict=True):
            write_rows(path, [catalogue.items[row] for row in part.tolist()], catalogue.vectors[part], sketcher)
        write_rows(folder / "warm", catalogue.items[:_WARM], catalogue.vectors[:_WARM], sketcher)
        write_index(folder / "warm", IndexSpec.of("flat"), 1)
        np.save(folder / "truth.npy", catalogue.vectors[self._order], allow_pickle=False)
        self._names = numbered(vector_names(catalogue.vectors))
        self._attributes = Attributes(catalogue.declared, Column(np.float64))
        self._attributes.extend(0, [item.attributes for item in catalogue.items])

    @property
    def items(self) -> int:
        return len(self._catalogue)

    def ask(self, questions: Questions) -> None:
        """What settings are asked from now on."""
        given = {one for one in questions.filters if one is not None}
        matches: dict[Filter, Rows] = {one: self._attributes.rows(one, self.items) for one in given}
        answers = Answers.of(questions, self._catalogue.vectors, matches, self._names)
        by_file = Answers(answers.wanted, answers.least, self._names[self._order])
        files, declared = self._folder, self._catalogue.declared
        self._exam = Exam(
            self._folders, files / "truth.npy", files / "warm", declared, questions, by_file, self._recall, self._tuning
        )

    def try_out(self, spec: IndexSpec, efforts: Sequence[int] | None = None) -> Trial:
        """Index and measure. `efforts` None: all of the engine's table that the spec allows. Raises VersionError or
        ImportError where the engine cannot be made here, and RuntimeError of its library.
        """
        if self._exam is None:
            raise ValueError("nothing is asked yet")
        plain = spec.model_copy(update={"originals": "float32"})
        if self._indexed != plain:
            self._write(plain)
            start = time.perf_counter()
            for folder in self._folders:
                write_index(folder, plain, os.cpu_count() or 1)
            self._build_s, self._indexed = time.perf_counter() - start, plain
        self._write(spec)
        return Trial(spec, self.items, self._build_s, self._measure(self._exam, spec, efforts or tried_efforts(spec)))

    def _write(self, spec: IndexSpec) -> None:
        for part, folder in zip(self._catalogue.parts, self._folders, strict=True):
            write_vectors(folder, self._catalogue.vectors[part], spec.originals)
