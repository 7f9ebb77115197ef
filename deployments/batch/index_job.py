"""The indexing job: each shard is indexed by a Ray task. `index_client.py` runs it as a separate process."""

from __future__ import annotations

import sys
from pathlib import Path

import ray

from deployments.batch.index_client import IndexJob
from deployments.batch.ray_connection import connected, workers_of
from recsys.config.index import IndexSpec
from recsys.errors import RecsysError
from recsys.shard.snapshot import write_index


@ray.remote(num_cpus=1)
def index(number: int, folder: Path, spec: IndexSpec) -> int:
    """Index a shard. Ray restarts a task whose worker dies, and it writes the same file again."""
    write_index(folder, spec, threads=1)
    return number


def main() -> None:
    job = IndexJob.model_validate_json(sys.stdin.buffer.read())
    try:
        with connected(job.cluster):
            workers_of(None)
            waiting = [index.remote(number, folder, job.spec) for number, folder in enumerate(job.folders)]
            while waiting:
                [done], waiting = ray.wait(waiting)
                print(ray.get(done), flush=True)  # noqa: T201
    except RecsysError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
