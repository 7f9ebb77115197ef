"""Texts of 17,472 real films to vectors: `python -m load_tests.ann.films FOLDER FILE.npy`, a minute on two cores.

The films are those of the `bokeh-sampledata` wheel (OMDb, CC0): title, year, genre, director, writer, cast.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from rich.progress import track

from load_tests.ann.datasets import wheel
from recsys.config.encoder import EncoderSpec
from recsys.encoders.loading import load_encoder, prepare_encoder

FILMS = "bokeh-sampledata==2026.1"
_TOGETHER = 64


def main() -> None:
    folder, file = Path(sys.argv[1]), Path(sys.argv[2])
    spec, threads = EncoderSpec(), os.cpu_count() or 1
    prepare_encoder(spec, folder / "models", threads=threads)
    encoder = load_encoder(spec, folder / "models", threads=threads)
    texts_of = texts(wheel(FILMS, folder))
    starts = range(0, len(texts_of), _TOGETHER)
    vectors = [encoder.encode(texts_of[start : start + _TOGETHER]) for start in track(starts, "films")]
    np.save(file, np.concatenate(vectors))


def texts(file: Path) -> list[str]:
    return [text for text, _, _ in films(file)]


def films(file: Path) -> list[tuple[str, str, int]]:
    """Text, genres with commas between them, and year (0: unknown) of each film."""
    with zipfile.ZipFile(file) as archive, tempfile.NamedTemporaryFile(suffix=".db") as database:
        name = next(name for name in archive.namelist() if name.endswith("movies.db"))
        database.write(archive.read(name))
        database.flush()
        with sqlite3.connect(database.name) as films:
            rows = films.execute('select Title, Year, Genre, Director, Writer, "Cast" from omdb order by ID').fetchall()
    return [
        (
            ". ".join(str(part) for part in row if part),
            row[2] or "",
            int(row[1]) if str(row[1]).isdecimal() else 0,
        )
        for row in rows
    ]


if __name__ == "__main__":
    main()
