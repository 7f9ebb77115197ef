"""What a composer has done unattended, each as a task of the Ray cluster: its memory is free again when it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayTaskError

from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.config.whole import Config
from recsys.errors import TooFewEvents
from recsys.jobs.schedule import Job, rebuild_due, retraining_due
from recsys.state import redis_keys
from recsys.state.membership import Drift
from recsys.versions.store import VersionStore

_NICE = 10
"""It takes the processor time that serving leaves."""


def jobs(
    platform: Platform,
    settings: Callable[[], Serving],
    drift: Callable[[], Sequence[Drift]],
    wishes: Callable[[], Sequence[str]],
    tuning: Callable[[], Awaitable[ShardTuning]],
) -> list[Job]:
    """A rebuild first: it is the shorter one, and what it builds is what a retraining is compared with.

    `wishes`: why shards ask for a rebuild. `tuning` tells the settings of the running shards: a version is judged by
    the search that will be served.
    """

    async def rebuilt() -> dict[str, str]:
        config = Config(platform, settings(), await tuning())
        outcome: dict[str, str] = await _done(rebuild_task.remote(config, bool(wishes())))
        return outcome

    async def retrained() -> dict[str, str]:
        outcome: dict[str, str] = await _done(retraining_task.remote(Config(platform, settings(), await tuning())))
        return outcome

    return [
        Job(
            "rebuild",
            redis_keys.REBUILD,
            lambda: settings().rebuild.wanted,
            lambda now, began, _: rebuild_due(settings().rebuild, now, began, drift(), wishes()),
            rebuilt,
            resumes=True,
        ),
        Job(
            "retraining",
            redis_keys.RETRAINING,
            lambda: settings().retrain.wanted,
            lambda now, began, ended: retraining_due(settings().retrain, now, began, ended),
            retrained,
            resumes=False,
        ),
    ]


async def _done(task: Any) -> Any:
    """What the task gives, or its own error instead of Ray's, whose text is a traceback.

    Who gives the task up ends it: it must not promote anything while another one is at work.
    """
    try:
        return await task
    except RayTaskError as error:
        raise (error.cause or error) from None
    except asyncio.CancelledError:
        ray.cancel(task, force=True)
        raise


@ray.remote(num_cpus=1, max_retries=0)
def rebuild_task(config: Config, stronger: bool) -> dict[str, str]:
    """Build, promote, drop what is kept no longer. It ends with the composer that asked for it, and the next one's goes
    on where it was. `stronger`: see `compact`.
    """
    from recsys.jobs.compact import compact  # noqa: PLC0415 - a composer need not hold what builds

    os.nice(_NICE)
    served = _as_served(config)
    outcome = asyncio.run(compact(served, config.platform.redis(), then_promote=True, stronger=stronger))
    return {"version": outcome.version}


@ray.remote(num_cpus=1, max_retries=0)
def retraining_task(config: Config) -> dict[str, str]:
    """Train, compare, and publish what is not worse. It ends with the composer that asked for it."""
    from recsys.jobs.retrain import retrain  # noqa: PLC0415 - nor what trains

    os.nice(_NICE)
    try:
        outcome = asyncio.run(retrain(_as_served(config), config.platform.redis()))
    except TooFewEvents as few:
        return {"result": str(few)}
    version = {} if outcome.manifest is None else {"version": outcome.manifest.version}
    return {**version, "result": outcome.result, "comparison": outcome.comparison.model_dump_json()}


def switching(platform: Platform) -> Callable[[str | None, bool], Awaitable[str]]:
    """How versions are promoted and rolled back over HTTP, see `api/versions.py`: every shard of the version is opened
    for its checks, in a process of its own.
    """

    async def switch(version: str | None, allow_shrink: bool) -> str:
        served: str = await _done(switch_task.remote(platform, version, allow_shrink))
        return served

    return switch


@ray.remote(num_cpus=0.1, max_retries=0)
def switch_task(platform: Platform, version: str | None, allow_shrink: bool) -> str:
    from recsys.jobs.promote import promote, rollback  # noqa: PLC0415 - nor what checks

    os.nice(_NICE)
    url, platform = platform.redis(), VersionStore.of(platform).shaped(platform)
    work = rollback(platform, url) if version is None else promote(version, platform, url, allow_shrink=allow_shrink)
    return asyncio.run(work).version


def _as_served(config: Config) -> Config:
    """With the shards that are served: they may have changed since the composer was made."""
    return replace(config, platform=VersionStore.of(config.platform).shaped(config.platform))
