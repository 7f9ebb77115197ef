"""The embedding job: chunks of a plan are written by a pool of Ray Data actors, each with its own encoder.

`embed_client.py` runs it as a separate process.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from deployments.batch.embed_client import EmbedJob
from deployments.batch.ray_connection import connected, say, workers_of
from recsys.config.encoder import EncoderSpec
from recsys.data.vector_chunks import Written, write_chunk
from recsys.encoders.loading import load_encoder
from recsys.errors import RecsysError
from recsys.jobs.embed import Step


class Embedder:
    """An actor of the pool. It loads the model once, from `models`. All nodes share both folders."""

    def __init__(self, spec: EncoderSpec, models: Path, folder: Path) -> None:
        self._encoder = load_encoder(spec, models)
        self._folder = folder

    def __call__(self, rows: pa.Table) -> pa.Table:
        written = write_chunk(self._folder, rows, self._encoder)
        return pa.table({"chunk": [written.chunk], "items": [written.items], "encoded": [written.encoded]})


def embed(job: EmbedJob, chunks: list[pa.Table], workers: int) -> Iterator[Written]:
    """Yield each chunk when it is written, in any order. A dead actor is replaced, and its chunk is written again."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # Each table is a block, and with batch_size=None each block is one call: a chunk is never cut or joined.
    results = ray.data.from_arrow(chunks).map_batches(
        Embedder,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(size=workers),
        num_cpus=1,
        fn_constructor_args=(job.encoder, job.models, job.folder),
    )
    for row in results.iter_rows():
        yield Written(row["chunk"], row["items"], row["encoded"])


def main() -> None:
    job = EmbedJob.model_validate_json(sys.stdin.buffer.readline())
    with pa.ipc.open_stream(sys.stdin.buffer) as stream:
        chunks = [pa.Table.from_batches([batch]) for batch in stream]
    try:
        with connected(job.cluster):
            workers = min(workers_of(job.workers), len(chunks))
            say(Step(workers))
            for written in embed(job, chunks, workers):
                say(Step(workers, written))
    except RecsysError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
