"""Shards of a version as parallel tasks of a Ray cluster that has the same folders: see the job in `index_job.py`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import SerializeAsAny

from deployments.batch.job_process import Cluster, cluster_of, job
from recsys.config import IndexSpec, Settings
from recsys.versions.build import Indexer


class IndexJob(Settings):
    cluster: Cluster
    spec: SerializeAsAny[IndexSpec]
    folders: tuple[Path, ...]


def on_ray(home: Path, address: str | None, cpus: int = 1) -> Indexer:
    """A core a shard, as many shards at a time as there are cores free. `address` and `cpus`: see `Cluster`."""

    def write(folders: Sequence[Path], spec: IndexSpec, _threads: int) -> Iterator[Path]:
        if not folders:
            return
        with (
            cluster_of(home, address, cpus) as (cluster, env),
            job("deployments.batch.index_job", env, home / "logs" / "index.log") as (given, made),
        ):
            given.write(IndexJob(cluster=cluster, spec=spec, folders=tuple(folders)).model_dump_json().encode())
            given.close()
            for line in made:
                yield folders[int(line)]

    return write
