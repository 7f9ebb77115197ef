"""Guardrails: a variant that is slow, or whose answers are not whole, or that people like less, stops by itself."""

from __future__ import annotations

import pytest

from recsys.config.experiments import Experiment
from recsys.datatypes import Interaction
from recsys.serving.guard import Guard
from recsys.state.slate_log import Entry, SlateLog
from recsys.state.vitals import Vitals
from recsys.telemetry import SECONDS
from tests.support.slate_log import answer, collect

pytestmark = pytest.mark.usefixtures("short_slots")


def experiment(**guardrails):
    variants = {"control": {}, "b": {"settings": {"diversity": 0.9}}}
    return Experiment.model_validate({"name": "spread", "variants": variants, "guardrails": guardrails})


async def looked_at(world, fill, **guardrails) -> str | None:
    """Why the variant was stopped, after `fill` has noted some answers."""
    gateway = world.gateway
    await gateway.experiments.start("home", experiment(**guardrails), "ann")
    vitals = Vitals(world.redis)
    fill(vitals)
    await vitals.flush()
    await Guard(world.redis, gateway.experiments, gateway.vitals).step()
    given = gateway.settings.scenarios["home"].experiment
    assert given is not None
    assert given.variants["control"].stopped is None
    return given.variants["b"].stopped


async def test_a_slow_variant_stops(make_world):
    """By the 99th percentile of 600 answers: two in a hundred that take a second are too many."""

    def fill(vitals: Vitals) -> None:
        for n in range(600):
            vitals.note("spread/b", 1.0 if n % 50 == 0 else 0.004, degraded=False)

    reason = await looked_at(await make_world(), fill, p99_ms=200)
    assert reason is not None
    assert reason.startswith("p99: ")


async def test_a_variant_whose_answers_are_not_whole_stops(make_world):
    """Against the control's share: where both lack a part, it is not the variant's fault."""

    def fill(vitals: Vitals, control: int = 100) -> None:
        for n in range(600):
            vitals.note("spread/b", 0.004, degraded=n % 5 == 0)
            vitals.note("spread/control", 0.004, degraded=n % control == 0)

    world = await make_world()
    reason = await looked_at(world, fill)
    assert reason is not None
    assert reason.startswith("degraded: 20.0% of its answers, 1.0% of the control's")


async def test_a_well_variant_goes_on(make_world):
    """So does one with too few answers to say anything of."""

    def fill(vitals: Vitals) -> None:
        for _ in range(600):
            vitals.note("spread/control", 0.004, degraded=True)
        for _ in range(300):
            vitals.note("spread/b", 4.0, degraded=True)

    assert await looked_at(await make_world(), fill, p99_ms=200) is None


async def test_a_disliked_variant_stops(make_world):
    """300 users a side, of whom a half and a tenth click."""
    world = await make_world()
    gateway = world.gateway
    now = (await gateway.experiments.start("home", experiment(), "ann")).started_at
    log, answers, clicks = SlateLog(world.redis, most=10_000, token_s=3600), [], []
    for n in range(600):
        side, request_id = ("b", f"b{n}") if n % 2 else ("control", f"c{n}")
        answers.append(answer(request_id, ["x", "y"], request_id, variant=f"spread/{side}", at=now + 0.001))
        if n % (20 if n % 2 else 4) < 2:
            clicks.append(Interaction(f"e{n}", request_id, "x", "click", now + 0.002, None, request_id))

    await log.write("w", 1, [Entry.of(answers)], 0, now)
    await log.tell(clicks)
    await collect(world.redis, gateway.log_files)
    guard = Guard(world.redis, gateway.experiments, gateway.vitals)
    await guard.step()
    given = gateway.settings.scenarios["home"].experiment
    assert given is not None
    assert (given.variants["b"].stopped or "").startswith("worse: ")
    assert (await gateway.experiments.all())[0].experiment["variants"]["b"]["stopped"].startswith("worse: ")


async def test_a_percentile_lies_within_its_bucket(redis):
    """99 fast answers and one slow: the 99th percentile is fast, the one behind it slow."""
    vitals = Vitals(redis)
    for n in range(100):
        vitals.note("x/a", 0.8 if n == 0 else 0.0021, degraded=False)
    await vitals.flush()
    pulse = await vitals.read("x/a", 10)
    assert (pulse.answers, pulse.degraded) == (100, 0)
    assert 0.002 < pulse.quantile_s(0.99) <= 0.003
    assert 0.5 < pulse.quantile_s(0.999) <= 1.0
    assert len(pulse.times) == len(SECONDS) + 1
    assert (await vitals.read("x/b", 10)).quantile_s(0.99) == 0.0
