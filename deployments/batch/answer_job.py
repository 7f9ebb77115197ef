"""The answering job: chunks of users are answered by a pool of Ray Data actors, through the shards that serve.

`answer_client.py` runs it as a separate process.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import msgspec
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from deployments.batch.answer_client import AnswerJob
from deployments.batch.ray_connection import connected, say, workers_of
from recsys.errors import RecsysError
from recsys.jobs.batch import Asked, Done, Step, answer_chunk
from recsys.serving.bulk_answers import BulkAnswers
from recsys.state.connection import connect

_REDIS_S = 30.0
"""Seconds for an answer of Redis: a worker has time."""


class Answerer:
    """An actor of the pool. Its connections last as long as it does."""

    def __init__(self, order: AnswerJob) -> None:
        self._order = order
        self._loop = asyncio.new_event_loop()
        redis = connect(order.redis_url, _REDIS_S, prefix=order.platform.redis_prefix)
        self._answers = self._loop.run_until_complete(BulkAnswers.opened(order.platform, order.serving, redis))

    def __call__(self, rows: pa.Table) -> pa.Table:
        request, folder = Asked(self._order.scenario, self._order.k), self._order.folder
        done = [
            self._loop.run_until_complete(answer_chunk(self._answers, folder, chunk, request))
            for chunk in rows.column("chunk").to_pylist()
        ]
        return pa.Table.from_pylist([msgspec.to_builtins(one) for one in done])


def answer(order: AnswerJob, workers: int) -> Iterator[Done]:
    """Yield each chunk when it is written, in any order. A dead actor is replaced, and its chunk is answered again."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    chunks = [pa.table({"chunk": [chunk]}) for chunk in order.chunks]
    # Each table is a block, and with batch_size=None each block is one call.
    results = ray.data.from_arrow(chunks).map_batches(
        Answerer,
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=workers),
        num_cpus=1,
        fn_constructor_args=(order,),
    )
    for row in results.iter_rows():
        yield Done(**row)


def main() -> None:
    order = AnswerJob.model_validate_json(sys.stdin.buffer.read())
    try:
        with connected(order.cluster):
            workers = min(workers_of(order.workers), len(order.chunks))
            say(Step(workers))
            for done in answer(order, workers):
                say(Step(workers, done))
    except RecsysError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
