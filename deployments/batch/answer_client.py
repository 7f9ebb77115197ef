"""The client of the answering job in `answer_job.py`, for `recsys batch`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from deployments.batch.job_process import Cluster, cluster_of, job
from recsys.config.base import Settings
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.whole import Config
from recsys.data.answer_plan import AnswerPlan
from recsys.jobs.batch import Asked, Step


class AnswerJob(Settings):
    """The job's input. All nodes share `folder`, the platform's versions, and its network."""

    cluster: Cluster
    workers: int | None
    """None: one for each free core."""
    platform: Platform
    serving: Serving
    redis_url: str
    folder: Path
    chunks: tuple[int, ...]
    scenario: str
    k: int


def answered(
    plan: AnswerPlan,
    request: Asked,
    config: Config,
    redis_url: str,
    address: str | None,
    workers: int | None,
    cpus: int,
) -> Iterator[Step]:
    """Yield the job's progress: each chunk when it is written. `workers`: see `AnswerJob`; the others: see `Cluster`.

    Raises RuntimeFailure when the job fails. A repeated call writes the chunks that are missing.
    """
    home = config.platform.home()
    with (
        cluster_of(home, address, cpus) as (cluster, env),
        job("deployments.batch.answer_job", env, home / "logs" / "batch.log") as (job_input, job_output),
    ):
        order = AnswerJob(
            cluster=cluster,
            workers=workers,
            platform=config.platform.model_copy(update={"data_dir": home}),
            serving=config.serving,
            redis_url=redis_url,
            folder=plan.folder,
            chunks=plan.todo,
            scenario=request.scenario,
            k=request.k,
        )
        job_input.write(order.model_dump_json().encode())
        job_input.close()
        for line in job_output:
            yield msgspec.json.decode(line, type=Step)
