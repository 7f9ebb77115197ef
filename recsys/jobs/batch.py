"""Recommendations for all users of a platform, written as Parquet files."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson
from msgspec import structs
from redis.asyncio import Redis

from recsys.config.serving import Serving
from recsys.config.whole import Config
from recsys.data.answer_files import write_answers
from recsys.data.answer_plan import AnswerPlan, alone, answers_file, begun, plan, users_of
from recsys.datatypes import RecQuery
from recsys.encoders.catalogue import Progress
from recsys.errors import BadInput
from recsys.jobs.patient_redis import patient_redis
from recsys.serving.bulk_answers import BulkAnswers
from recsys.serving.live_scenarios import LiveScenarios
from recsys.state.users import UserStore

_AGAIN = "start the same batch again, and it goes on"


class Asked(msgspec.Struct, frozen=True):
    """What is recommended to every user."""

    scenario: str
    k: int


class Done(msgspec.Struct, frozen=True):
    """A chunk of users whose answers are written."""

    users: int
    degraded: int
    """Answers that lack a part."""
    empty: int
    """Answers without items."""


class Step(msgspec.Struct, frozen=True):
    """Progress of a run."""

    workers: int
    done: Done | None = None
    """The chunk that was written. None: the workers are about to start."""


@dataclass(frozen=True, slots=True)
class Answered:
    users: int
    """All users, those of an interrupted run before as well."""
    files: int
    answered: int
    """Users who were answered in this run."""
    degraded: int
    """Of those, answers that lack a part."""
    empty: int
    """Of those, answers without items."""
    workers: int
    """0: there was nothing to do."""
    seconds: float
    """Since the start of the workers."""

    @property
    def users_per_s(self) -> float | None:
        """None: nobody was answered."""
        return round(self.answered / self.seconds, 1) if self.answered else None


def batch(
    folder: Path,
    request: Asked,
    redis_url: str,
    config: Config,
    say: Progress,
    run: Callable[[AnswerPlan], Iterator[Step]],
) -> Answered:
    """Write the answers to all users into the folder. `run` writes the chunks of a plan and yields its progress.

    An interrupted run goes on with the chunks that are missing, of the users that it listed. Raises VersionError while
    another run is under way in the folder, and BadInput when that holds anything else, or the scenario does not fit.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        todo = asyncio.run(_plan(folder, request, redis_url, config, say))
        say("batch", 0, todo.waiting)
        done: list[Done] = []
        workers, start = 0, time.perf_counter()
        for step in run(todo) if todo.todo else ():
            if step.done is None:
                start, workers = time.perf_counter(), step.workers
            else:
                done.append(step.done)
                say("batch", sum(one.users for one in done), todo.waiting)
        seconds = time.perf_counter() - start
        todo.finish()
    answered, degraded, empty = (sum(getattr(one, name) for one in done) for name in ("users", "degraded", "empty"))
    return Answered(todo.users, len(todo.chunks), answered, degraded, empty, workers, seconds)


def foreseen(folder: Path, request: Asked, redis_url: str, config: Config, say: Progress) -> int:
    """Return the number of users whom `batch` would answer. Writes nothing; raises as it does."""

    async def count() -> int:
        async with patient_redis(redis_url, config.platform, _AGAIN) as redis:
            await _check(request, redis, config)
            if (left := begun(folder, _text(request))) is not None:
                return left.waiting
            return len({user async for user in users_of_platform(redis, config, say)})

    return asyncio.run(count())


async def answer_chunk(answers: BulkAnswers, folder: Path, chunk: int, request: Asked) -> Done:
    """Answer the users of a chunk and write the file."""
    common = RecQuery(k=request.k, scenario=request.scenario)
    users = users_of(folder, chunk)
    queries = [structs.replace(common, user_id=user, request_id=uuid.uuid4().hex) for user in users]
    slates = await answers.slates(queries)
    await asyncio.to_thread(write_answers, answers_file(folder, chunk), queries, slates)
    return Done(len(slates), sum(bool(s.degraded) for s in slates), sum(not s.items for s in slates))


async def _plan(folder: Path, request: Asked, redis_url: str, config: Config, say: Progress) -> AnswerPlan:
    async with patient_redis(redis_url, config.platform, _AGAIN) as redis:
        await _check(request, redis, config)
        return begun(folder, _text(request)) or await plan(
            folder, _text(request), users_of_platform(redis, config, say)
        )


async def users_of_platform(redis: Redis, config: Config, say: Progress) -> AsyncIterator[str]:
    count = 0
    async for user in UserStore(redis, ttl_s=60, history=config.serving.history).ids():
        yield user
        count += 1
        if count % 1000 == 0:
            say("users", count, count)
    say("users", count, count)


async def _check(request: Asked, redis: Redis, config: Config) -> None:
    """Raise BadInput unless the scenarios in force have one of this name, for recommendations."""
    in_force: list[Serving] = []
    live = LiveScenarios(redis, config.platform, in_force.append)
    live.configure(config.serving)
    await live.look()
    scenarios, limit = in_force[-1].scenarios, config.serving.limits.k
    fitting = sorted(name for name, scenario in scenarios.items() if scenario.call(name) == "home")
    if request.scenario not in fitting:
        raise BadInput(
            f"--scenario: {request.scenario!r} is none of those for recommendations, which are {', '.join(fitting)}",
            field="scenario",
        )
    if request.k > limit:
        raise BadInput(f"--k: {request.k} is over the limit of {limit}; ask for fewer, or raise limits.k", field="k")


def _text(request: Asked) -> bytes:
    return orjson.dumps({"scenario": request.scenario, "k": request.k})
