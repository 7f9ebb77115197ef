"""When unattended jobs are due, and the drift that a rebuild goes by."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from recsys.config.unattended import Rebuild, Retrain
from recsys.datatypes import Item
from recsys.jobs.schedule import rebuild_due, retraining_due
from recsys.shard.drift import measure
from recsys.state.membership import Drift
from tests.support.world import World, catalogue, eventually


def at(hour: int, minute: int = 0) -> float:
    return datetime(2026, 3, 2, hour, minute, tzinfo=UTC).timestamp()


def drift(**given: float) -> Drift:
    return Drift(**({"log_share": 0.0, "dead_share": 0.0, "recall_at_10": 1.0} | given))


def test_cron_is_due_once_after_each_of_its_times():
    """Also when nobody looked at the time itself; in UTC."""
    nightly = Rebuild(cron="0 3 * * *")
    assert rebuild_due(nightly, at(2, 59), at(1), []) is None
    assert rebuild_due(nightly, at(3), at(1), []) == "cron: 0 3 * * *"
    assert rebuild_due(nightly, at(9), at(1), []) == "cron: 0 3 * * *"
    assert rebuild_due(nightly, at(9), at(3), []) is None


@pytest.mark.parametrize(
    ("name", "limit", "fine", "past"),
    [("log_share", 0.3, 0.3, 0.31), ("dead_share", 0.2, 0.1, 0.4), ("recall_below", 0.9, 0.9, 0.8)],
)
def test_drift_is_due_past_its_limit_and_after_the_pause(name, limit, fine, past):
    """The worst replica decides; within the pause after the last rebuild none does."""
    settings = Rebuild(**{name: limit, "pause_s": 600, "cron": None})
    measured = "recall_at_10" if name == "recall_below" else name
    assert rebuild_due(settings, at(9), at(1), [drift(), drift(**{measured: fine})]) is None
    assert rebuild_due(settings, at(9), at(1), []) is None
    reason = rebuild_due(settings, at(9), at(1), [drift(), drift(**{measured: past})])
    assert reason is not None
    assert f"{measured} is {past:.3f}" in reason
    assert rebuild_due(settings, at(1, 9), at(1), [drift(**{measured: past})]) is None


def test_a_wrong_expression_is_refused_by_name():
    """At the start, not at night."""
    with pytest.raises(ValidationError, match="is no cron expression"):
        Rebuild(cron="61 * * * *")
    assert not Rebuild(cron=None, recall_lost=False).wanted


def test_a_retraining_rests_after_its_end():
    """One that took longer than its period does not begin again at once."""
    hourly = Retrain(cron="0 * * * *", pause_s=1800)
    assert retraining_due(hourly, at(3), at(2), at(2, 10)) == "cron: 0 * * * *"
    assert retraining_due(hourly, at(3), at(1), at(2, 45)) is None
    assert retraining_due(hourly, at(3, 15), at(1), at(2, 45)) == "cron: 0 * * * *"
    assert retraining_due(hourly, at(3, 59), at(3), at(3, 1)) is None
    assert retraining_due(Retrain(), at(9), at(1), at(1)) is None
    assert not Retrain().wanted


async def test_drift_is_what_came_since_the_snapshot(make_world):
    """Of 24 items eight by the log, of 28 rows four dead, and full recall."""
    world: World = await make_world(shards=1, items=catalogue(5))
    (replica,) = world.clients[0].replicas
    version = world.store.current()
    await world.gateway.items.upsert([Item(f"n{n}", f"new {n}") for n in range(8)], wait_visible=True)
    for gone in ("sea-0", "sea-1", "sea-2", "n7"):
        await world.gateway.items.delete(gone, wait_visible=True)
    measured = measure(replica.versions[version].shard)
    assert measured.log_share == pytest.approx(7 / 24)
    assert measured.dead_share == pytest.approx(4 / 28)
    assert measured.recall_at_10 == 1.0


async def test_a_replica_tells_its_drift(make_world):
    """Its word in Redis carries the measurement of each version, and a new one after a change."""
    world: World = await make_world(shards=1, items=catalogue(5))
    version = world.store.current()

    async def told() -> Drift | None:
        await world.follower.members.refresh()
        state = world.follower.members.replicas(0)[0].versions.get(version)
        return state.drift if state else None

    assert (await eventually(told)).log_share == 0.0
    await world.gateway.items.upsert([Item("n", "new")], wait_visible=True)

    async def moved() -> bool:
        now = await told()
        return now is not None and now.log_share == pytest.approx(1 / 21)

    assert await eventually(moved)


async def test_drift_of_an_empty_shard(make_world):
    """Nothing has moved."""
    world: World = await make_world(shards=1, items=[])
    assert measure(world.clients[0].replicas[0].versions[world.store.current()].shard) == drift()
