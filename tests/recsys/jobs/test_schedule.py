"""Unattended rebuilds and retrainings: when, one at a time, and past the death of who began."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from recsys.config.unattended import Rebuild
from recsys.errors import VersionError
from recsys.jobs import schedule
from recsys.jobs.schedule import Job, Schedule, rebuild_due
from recsys.state import redis_keys
from recsys.state.job_runs import last_run
from recsys.state.membership import Drift
from tests.support.world import eventually

RARELY = "0 0 29 2 *"
"""A cron expression whose time does not come while a test runs, unless that is on a 29 February at midnight."""
LONG_AGO = 1_500_000_000.0
"""Unix seconds of a day in 2017. That time of the expression has come since."""


async def last_ran(redis: Redis, *keys: str) -> None:
    """The jobs of these keys ran last so long ago that they are due."""
    for key in keys:
        await redis.hset(key, "started", repr(LONG_AGO))


def drift(**given: float) -> Drift:
    return Drift(**({"log_share": 0.0, "dead_share": 0.0, "recall_at_10": 1.0} | given))


def job(
    settings: Rebuild,
    run: Any,
    *,
    resumes: bool = True,
    measured: tuple[Drift, ...] = (),
    key: str = redis_keys.REBUILD,
) -> Job:
    """A rebuild."""
    return Job(
        "job",
        key,
        lambda: settings.wanted,
        lambda now, began, _: rebuild_due(settings, now, began, measured),
        run,
        resumes=resumes,
    )


async def test_one_rebuilds_at_a_time(redis):
    """Of three composers that look together one builds; the next look finds it done, and says what came of it."""
    running, most, built = 0, 0, []

    async def rebuild() -> dict[str, str]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.2)
        running -= 1
        built.append("v")
        return {"version": f"v{len(built)}"}

    settings = Rebuild(cron=None, log_share=0.5, pause_s=86_400)
    composers = [Schedule(redis, [job(settings, rebuild, measured=(drift(log_share=0.9),))]) for _ in range(3)]
    for composer in composers:
        assert await composer.step() is None  # the schedule begins with its first look
    await last_ran(redis, redis_keys.REBUILD)
    done = await asyncio.gather(*(c.step() for c in composers))
    assert [d for d in done if d] == ["drift: log_share is 0.900, over 0.5"]
    assert (most, len(built)) == (1, 1)
    assert [await c.step() for c in composers] == [None] * 3
    known = await last_run(redis, redis_keys.REBUILD)
    assert known["version"] == "v1"
    assert float(known["started"]) <= float(known["finished"])
    assert await redis.exists(redis_keys.REBUILDING) == 0


async def test_a_failed_rebuild_is_told_and_waits_for_its_next_time(redis, caplog):
    """It does not start again at once."""

    async def rebuild() -> dict[str, str]:
        raise VersionError("recall@10 is 0.5")

    composer = Schedule(redis, [job(Rebuild(cron=RARELY), rebuild)])
    await composer.step()
    await last_ran(redis, redis_keys.REBUILD)
    assert await composer.step() == f"cron: {RARELY}"
    assert (await last_run(redis, redis_keys.REBUILD))["error"] == "recall@10 is 0.5"
    assert "recall@10 is 0.5" in caplog.text
    assert await composer.step() is None


async def test_a_rebuild_whose_composer_died_is_taken_up(redis, monkeypatch):
    """Once the dead one's lock has run out, another goes on; the lock of one that lives is renewed."""
    monkeypatch.setattr(schedule, "LOCK_S", 6.0)
    builds: list[asyncio.Future[dict[str, str]]] = []

    def rebuild() -> Any:
        builds.append(asyncio.get_running_loop().create_future())
        return builds[-1]

    first, second = (Schedule(redis, [job(Rebuild(cron=RARELY), rebuild)]) for _ in range(2))
    await first.step()
    await last_ran(redis, redis_keys.REBUILD)
    working = asyncio.ensure_future(first.step())
    assert await eventually(lambda: builds)
    left_ms = await redis.pttl(redis_keys.REBUILDING)

    async def renewed() -> bool:
        nonlocal left_ms
        before, left_ms = left_ms, await redis.pttl(redis_keys.REBUILDING)
        return left_ms > before

    assert await eventually(renewed)
    assert await second.step() is None
    assert len(builds) == 1
    working.cancel()  # as a process that is killed: what it began is not finished
    await asyncio.gather(working, return_exceptions=True)
    assert builds[0].cancelled()
    assert await redis.set(redis_keys.REBUILDING, "of the dead", px=200)  # a killed process does not give it back
    taking_up = asyncio.ensure_future(eventually(second.step))
    assert await eventually(lambda: len(builds) == 2)
    builds[1].set_result({"version": "v2"})
    assert str(await taking_up).startswith("it died on the way: cron")
    assert (await last_run(redis, redis_keys.REBUILD))["version"] == "v2"


async def test_a_rebuild_and_a_retraining_never_run_together(redis):
    """Both are due for all of two composers: the first of the list runs, then the other, and each once."""
    running, order = 0, []

    def runs(name: str) -> Any:
        async def run() -> dict[str, str]:
            nonlocal running
            running += 1
            assert running == 1
            order.append(name)
            await asyncio.sleep(0.1)
            running -= 1
            return {"result": name}

        return run

    rarely = Rebuild(cron=RARELY)
    work = [job(rarely, runs("rebuild")), job(rarely, runs("retraining"), key=redis_keys.RETRAINING)]
    composers = [Schedule(redis, work) for _ in range(2)]
    await composers[0].step()
    await last_ran(redis, redis_keys.REBUILD, redis_keys.RETRAINING)
    for _ in range(3):
        await asyncio.gather(*(c.step() for c in composers))
    assert order == ["rebuild", "retraining"]
    assert (await last_run(redis, redis_keys.RETRAINING))["result"] == "retraining"


async def test_a_retraining_that_died_waits_for_its_next_time(redis, caplog):
    """It is told as failed, and does not begin again at once: it may have died of the memory that it needs."""
    began = []

    async def train() -> dict[str, str]:
        began.append(time.time())
        return {}

    composer = Schedule(redis, [job(Rebuild(cron=RARELY), train, resumes=False)])
    await redis.hset(redis_keys.REBUILD, mapping={"started": repr(time.time()), "reason": f"cron: {RARELY}"})
    for _ in range(2):
        await composer.step()
    assert began == []
    assert (await last_run(redis, redis_keys.REBUILD))["error"] == f"it died on the way: cron: {RARELY}"
    assert "it died on the way" in caplog.text


async def test_whether_a_run_died_is_not_told_by_words(redis):
    """A job that waits after a death runs when it is due for a reason that reads like one."""
    ran = []

    async def train() -> dict[str, str]:
        ran.append("train")
        return {"result": "trained"}

    words = "it died on the way: but that was another job"
    work = Job("job", redis_keys.RETRAINING, lambda: True, lambda *_: None if ran else words, train, resumes=False)
    composer = Schedule(redis, [work])
    await composer.step()
    assert await composer.step() == words
    assert ran == ["train"]
    assert (await last_run(redis, redis_keys.RETRAINING))["result"] == "trained"


@pytest.mark.parametrize(
    "left",
    [{"finished": "5.0", "version": "v2"}, {"started": "soon", "finished": "5.0"}, {"started": "nan"}, {"reason": "x"}],
)
async def test_a_last_run_that_redis_has_half_lost_is_a_new_schedule(redis, left):
    """It begins now, and is due at its next time; nobody's task ends by it."""
    ran = []

    async def run() -> dict[str, str]:
        ran.append(1)
        return {}

    composer = Schedule(redis, [job(Rebuild(cron=RARELY), run)])
    await redis.hset(redis_keys.REBUILD, mapping=left)
    composer.start()
    began = time.time()

    async def noted() -> bool:
        known = await last_run(redis, redis_keys.REBUILD)
        return known.get("started", "s").replace(".", "").isdigit() and float(known["started"]) >= began - 1

    assert await eventually(noted)
    assert composer.healthy()
    await composer.stop()
    assert ran == []
    await last_ran(redis, redis_keys.REBUILD)
    assert await composer.step() == f"cron: {RARELY}"


async def test_the_schedule_outlives_what_nobody_foresaw(redis, monkeypatch, caplog):
    """An error of any kind is logged, and the next look is made all the same."""
    monkeypatch.setattr(schedule, "LOOK_S", 0.01)
    looks = []

    def wanted() -> bool:
        looks.append(1)
        raise KeyError("unforeseen")

    composer = Schedule(redis, [Job("job", redis_keys.REBUILD, wanted, lambda *_: None, dict, resumes=True)])
    composer.start()
    assert await eventually(lambda: len(looks) > 2)
    assert composer.healthy()
    await composer.stop()
    assert "unforeseen" in caplog.text


@pytest.mark.parametrize("how", ["another has it", "Redis is away"])
async def test_who_loses_the_lock_gives_the_work_up(own_valkey, own_redis, monkeypatch, how):
    """Before another composer can begin; what was begun is still open in Redis, so that one goes on with it."""
    monkeypatch.setattr(schedule, "LOCK_S", 0.6)
    begun: list[asyncio.Future[dict[str, str]]] = []

    def run() -> Any:
        begun.append(asyncio.get_running_loop().create_future())
        return begun[-1]

    composer = Schedule(own_redis, [job(Rebuild(cron=RARELY), run)])
    await composer.step()
    await last_ran(own_redis, redis_keys.REBUILD)
    working = asyncio.ensure_future(composer.step())
    assert await eventually(lambda: begun)
    if how == "another has it":
        await own_redis.set(redis_keys.REBUILDING, "of another")
    else:
        own_valkey.stop()
    assert await eventually(begun[0].cancelled)
    await asyncio.gather(working, return_exceptions=True)
    if how == "another has it":
        assert "finished" not in await last_run(own_redis, redis_keys.REBUILD)
        assert await own_redis.get(redis_keys.REBUILDING) == b"of another"
