"""The client of the indexing job in `index_job.py`, on a Ray cluster that sees the same folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import SerializeAsAny

from deployments.batch.job_process import Cluster, cluster_of, job
from recsys.config.base import Settings
from recsys.config.index import IndexSpec
from recsys.shard.snapshot import write_indexes
from recsys.versions.build import Indexer


class IndexJob(Settings):
    cluster: Cluster
    spec: SerializeAsAny[IndexSpec]
    folders: tuple[Path, ...]


def indexer_at(home: Path, address: str | None) -> Indexer:
    """Return the indexer of a command: the Ray cluster at `address`, or this process where that is None."""
    return write_indexes if address is None else on_ray(home, address)


def on_ray(home: Path, address: str | None, cpus: int = 1) -> Indexer:
    """Return an indexer that uses one core for each shard, on all free cores. `address` and `cpus`: see `Cluster`."""

    def write(folders: Sequence[Path], spec: IndexSpec, _threads: int) -> Iterator[Path]:
        if not folders:
            return
        with (
            cluster_of(home, address, cpus) as (cluster, env),
            job("deployments.batch.index_job", env, home / "logs" / "index.log") as (job_input, job_output),
        ):
            job_input.write(IndexJob(cluster=cluster, spec=spec, folders=tuple(folders)).model_dump_json().encode())
            job_input.close()
            for line in job_output:
                yield folders[int(line)]

    return write
