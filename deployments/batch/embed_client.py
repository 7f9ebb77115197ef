"""The client of the embedding job in `embed_job.py`, for `recsys embed`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pyarrow as pa

from deployments.batch.job_process import Cluster, cluster_of, job
from recsys.config.base import Settings
from recsys.config.encoder import EncoderSpec
from recsys.config.platform import Platform
from recsys.data.embedding_plan import Plan
from recsys.jobs.embed import Step


class EmbedJob(Settings):
    """The first line of the job's input. An Arrow stream follows, with one record batch for each chunk."""

    cluster: Cluster
    workers: int | None
    """None: one for each free core."""
    encoder: EncoderSpec
    models: Path
    folder: Path


def embedded(plan: Plan, platform: Platform, address: str | None, workers: int | None, cpus: int) -> Iterator[Step]:
    """Yield the job's progress: each chunk when it is written. `workers`: see `EmbedJob`; the others: see `Cluster`.

    Raises RuntimeFailure when the job fails. A repeated call writes the chunks that are missing.
    """
    home = platform.home()
    with (
        cluster_of(home, address, cpus) as (cluster, env),
        job("deployments.batch.embed_job", env, home / "logs" / "embed.log") as (job_input, job_output),
    ):
        order = EmbedJob(
            cluster=cluster, workers=workers, encoder=platform.encoder, models=home / "models", folder=plan.folder
        )
        job_input.write(order.model_dump_json().encode() + b"\n")
        with pa.ipc.new_stream(job_input, plan.todo[0].schema) as stream:
            for rows in plan.todo:
                [batch] = rows.combine_chunks().to_batches()
                stream.write_batch(batch)
        job_input.close()
        for line in job_output:
            yield msgspec.json.decode(line, type=Step)
