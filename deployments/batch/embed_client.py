"""What `recsys embed` starts: the chunks of a plan through the job in `embed_job.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from deployments.batch.job_process import Cluster, cluster_of, job
from recsys.config import EncoderSpec, Platform, Settings
from recsys.data.embedding_plan import Plan
from recsys.jobs.embed import Step


class EmbedJob(Settings):
    """First line of the job's input; a stream of Arrow follows, a batch a chunk."""

    cluster: Cluster
    workers: int | None
    """None: a core each of those that are free."""
    encoder: EncoderSpec
    models: Path
    folder: Path


def embedded(plan: Plan, platform: Platform, address: str | None, workers: int | None, cpus: int) -> Iterator[Step]:
    """Each chunk when it is written, a line of the job's output. See `EmbedJob`; `address` and `cpus`: see `Cluster`.

    RuntimeFailure when the job fails; the same plan goes on with the chunks that are left.
    """
    home = platform.home()
    with (
        cluster_of(home, address, cpus) as (cluster, env),
        job("deployments.batch.embed_job", env, home / "logs" / "embed.log") as (given, made),
    ):
        order = EmbedJob(
            cluster=cluster, workers=workers, encoder=platform.encoder, models=home / "models", folder=plan.folder
        )
        given.write(order.model_dump_json().encode() + b"\n")
        with pa.ipc.new_stream(given, plan.todo[0].schema) as stream:
            for rows in plan.todo:
                [batch] = rows.combine_chunks().to_batches()
                stream.write_batch(batch)
        given.close()
        for line in made:
            yield msgspec.json.decode(line, type=Step)
