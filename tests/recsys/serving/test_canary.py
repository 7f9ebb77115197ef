"""A version that goes out to a part of the users: step by step to all, or back by itself, and the reason stays."""

from __future__ import annotations

import asyncio
import time

import pytest

from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.errors import VersionError
from recsys.jobs.canary import begin
from recsys.serving.canary_guard import CanaryGuard
from recsys.state.canary_record import CanaryRecords
from recsys.state.vitals import version_label
from recsys.versions.build import Content
from tests.support.people import build
from tests.support.world import World, event, eventually

USERS = [f"user-{n}" for n in range(80)]
STEPS = (0.2, 0.6)


def settings() -> Serving:
    return Serving.model_validate({"budget_s": 20, "canary": {"steps": STEPS, "step_s": 60, "least_answers": 1}})


class Lead:
    """A world with a second version, whose clock the test moves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ahead_s = 0.0
        self.version = build(world.store).publish(Content(world.items)).version
        self.base = world.follower.serve.version
        self.records = CanaryRecords(world.redis)
        self.guard = CanaryGuard(world.redis, world.store, world.platform, world.follower, world.gateway, now=self.now)

    def now(self) -> float:

        return time.time() + self.ahead_s

    async def out(self) -> None:
        """Sent out, and at its first share."""
        canary = self.world.gateway.settings.canary
        await begin(self.world.store, self.version, self.world.platform, self.world.redis, canary)

        async def first() -> bool:
            await self.guard.step()
            return self.world.follower.canary is not None and self.world.follower.canary.share == STEPS[0]

        assert await eventually(first)

    async def answers(self) -> dict[str, str]:
        """User -> the version that answered."""
        told = {}
        for user in USERS:
            slate = await self.world.gateway.recommend(RecQuery(k=3, user_id=user, request_id=user))
            told[user] = slate.index_version
        await self.world.gateway.vitals.flush()
        return told

    async def later(self, seconds: float) -> None:
        self.ahead_s += seconds
        await self.guard.step()


@pytest.fixture
async def lead(make_world) -> Lead:
    return Lead(await make_world(serving=settings()))


async def test_it_goes_to_more_and_more_users_and_then_to_all(lead: Lead):
    """Who has it keeps it; nobody's answer or event is lost on the way."""
    await lead.out()
    first = await lead.answers()
    some = {user for user, version in first.items() if version == lead.version}
    assert 5 < len(some) < 35
    await lead.later(61)
    follower = lead.world.follower
    assert await eventually(lambda: follower.canary is not None and follower.canary.share == STEPS[1])
    second = await lead.answers()
    more = {user for user, version in second.items() if version == lead.version}
    assert some < more
    await lead.later(61)
    assert lead.world.store.current() == lead.version
    assert await eventually(lambda: follower.serve.version == lead.version)
    await lead.guard.step()
    assert await lead.records.read() is None
    assert {*(await lead.answers()).values()} == {lead.version}
    verdict = lead.world.store.canary(lead.version)
    assert verdict is not None
    assert (verdict.outcome, verdict.base) == ("promoted", lead.base)


async def test_who_has_it_keeps_it_until_everybody_has_it(lead: Lead):
    """Also between the promotion and the switch, which takes seconds where profiles are made for it."""
    switching, may_switch = asyncio.Event(), asyncio.Event()

    async def slowly(_: object) -> None:
        switching.set()
        await may_switch.wait()

    follower = lead.world.follower
    await lead.out()
    await lead.answers()
    await lead.later(61)
    assert await eventually(lambda: follower.canary is not None and follower.canary.share == STEPS[1])
    before = await lead.answers()
    follower.before_switch = slowly
    await lead.later(61)
    await asyncio.wait_for(switching.wait(), 60)
    assert lead.world.store.current() == lead.version
    assert await lead.answers() == before
    may_switch.set()
    assert await eventually(lambda: follower.serve.version == lead.version and follower.canary is None)


async def test_events_count_in_the_version_that_answers_the_user(lead: Lead):
    """For users of either version, an event is in the very next answer, and none is degraded."""
    await lead.out()
    versions = await lead.answers()
    await lead.world.gateway.record([event(user, "sea-1") for user in USERS])
    for user in USERS:
        slate = await lead.world.gateway.recommend(RecQuery(k=5, user_id=user))
        assert slate.index_version == versions[user]
        assert slate.degraded == ()
        assert "sea-1" not in [item.item_id for item in slate.items]
    recorded = await lead.world.gateway.record([event(user, "sea-2", event_id="same") for user in USERS])
    again = await lead.world.gateway.record([event(user, "sea-2", event_id="same") for user in USERS])
    assert (recorded.accepted, again.duplicates) == (len(USERS), len(USERS))


async def test_it_comes_back_by_itself(lead: Lead):
    """Slow answers of it alone: everybody has the version before again, and the reason stays with this one."""
    given = lead.world.gateway.settings.model_dump(mode="json")
    given["canary"]["guardrails"]["p99_ms"] = 500
    lead.world.gateway.configure(Serving.model_validate(given))
    await lead.out()
    for _ in range(600):
        lead.world.gateway.vitals.note(version_label(lead.version), 2.0, degraded=False)
    await lead.world.gateway.vitals.flush()
    await lead.guard.step()
    assert await lead.records.read() is None
    assert await eventually(lambda: lead.world.follower.canary is None)
    assert {*(await lead.answers()).values()} == {lead.base}
    verdict = lead.world.store.canary(lead.version)
    assert verdict is not None
    assert verdict.outcome == "rolled_back"
    assert verdict.reason.startswith("p99: ")
    assert lead.world.store.current() == lead.base


async def test_another_promotion_ends_it(lead: Lead):
    await lead.out()
    other = build(lead.world.store).publish(Content(lead.world.items)).version
    lead.world.store.promote(other)
    await lead.guard.step()
    assert await lead.records.read() is None
    verdict = lead.world.store.canary(lead.version)
    assert verdict is not None
    assert verdict.reason.startswith("replaced: ")


async def test_one_at_a_time_and_not_the_served_one(lead: Lead):
    world, canary = lead.world, lead.world.gateway.settings.canary
    with pytest.raises(VersionError, match="everybody already"):
        await begin(world.store, lead.base, world.platform, world.redis, canary)
    await begin(world.store, lead.version, world.platform, world.redis, canary, dry_run=True)
    assert await lead.records.read() is None
    await begin(world.store, lead.version, world.platform, world.redis, canary)
    with pytest.raises(VersionError, match="on its way"):
        await begin(world.store, lead.version, world.platform, world.redis, canary)
