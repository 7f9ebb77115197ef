"""Settings that a replica is handed: the right ones are taken over, the wrong ones are refused and told."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from recsys.config.serving import Serving
from recsys.config.tuning import ShardTuning
from recsys.errors import BadInput
from recsys.serving.settings_follower import HeldSettings, refusals
from recsys.state import redis_keys
from tests.support.world import eventually


class Gauges:
    """Telemetry that remembers its gauges."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def set(self, name: str, value: float, **_labels: str) -> None:
        self.values[name] = value

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None: ...
    def observe(self, name: str, value: float, **labels: str) -> None: ...
    def flush(self) -> None: ...


class Replica:
    """What a deployment does with its settings."""

    def __init__(self, redis: Redis) -> None:
        self.told = Gauges()
        self.applied: list[ShardTuning] = []
        self.settings = HeldSettings(ShardTuning, "shard-0", redis, self._apply, self.told)

    async def _apply(self, tuning: ShardTuning) -> None:
        if tuning.threads == 13:
            raise BadInput("threads: 13 brings bad luck", field="threads")
        if tuning.threads == 14:
            raise RuntimeError("a defect")
        self.applied.append(tuning)


WRONG: list[dict[str, Any]] = [
    {"ef_serch": 3},
    {"ef_search": 0},
    {"ef_search": "many"},
    {"threads": 13},
    {"threads": 14},
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_wrong_settings_change_nothing_and_are_told(redis: Redis, wrong: dict[str, Any]) -> None:
    """In a metric and in Redis, where the status finds them, until right ones come."""
    replica = Replica(redis)
    await replica.settings.take({"ef_search": 99})
    await replica.settings.take(wrong)
    assert [t.ef_search for t in replica.applied] == [99]
    assert replica.told.values == {"recsys_settings_refused": 1.0}
    [(name, reason)] = (await refusals(redis)).items()
    assert name == "shard-0"
    assert "defect" in reason or next(iter(wrong)) in reason
    await replica.settings.take({"ef_search": 7})
    assert [t.ef_search for t in replica.applied] == [99, 7]
    assert replica.told.values == {"recsys_settings_refused": 0.0}
    assert await refusals(redis) == {}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_replica_that_starts_meanwhile_goes_by_what_was_right_last(redis: Redis, wrong: dict[str, Any]) -> None:
    """One that was scaled up or died: Serve hands it the wrong settings at its start."""
    await Replica(redis).settings.take({"ef_search": 99})
    late = Replica(redis)
    await late.settings.take(wrong)
    assert [t.ef_search for t in late.applied] == [99]
    assert "shard-0" in await refusals(redis)


async def test_a_deployments_first_settings_must_be_right(redis: Redis) -> None:
    """There is nothing to go by instead: the composer would come up without its API keys."""
    with pytest.raises(BadInput, match=r"shard-0\.user_config\.ef_serch: is not known; the fields are"):
        await Replica(redis).settings.take({"ef_serch": 3})
    assert await redis.hget(redis_keys.SETTINGS, "shard-0") is None


async def test_without_redis_settings_change_all_the_same(own_valkey: Any, own_redis: Redis) -> None:
    replica = Replica(own_redis)
    own_valkey.stop()
    await replica.settings.take({"ef_search": 5})
    await replica.settings.take({"ef_search": 0})
    assert [t.ef_search for t in replica.applied] == [5]


async def test_the_metric_is_told_again_and_again(redis: Redis) -> None:
    """Ray forgets a gauge that is not set again."""
    replica = Replica(redis)
    await replica.settings.take({"ef_search": 5})
    replica.told.values.clear()
    assert await eventually(lambda: replica.told.values == {"recsys_settings_refused": 0.0})
    await replica.settings.stop()


async def test_what_is_kept_is_what_was_right(redis: Redis) -> None:
    replica = Replica(redis)
    await replica.settings.take({"ef_search": 5})
    await replica.settings.take({"ef_search": 0})
    kept = orjson.loads(await redis.hget(redis_keys.SETTINGS, "shard-0"))
    assert kept["settings"] == {"ef_search": 5}


def test_a_scenario_that_is_renamed_is_named() -> None:
    """The mistake is said, not pydantic's own words around it."""
    from recsys.serving.settings_follower import parsed  # noqa: PLC0415

    given = {"scenarios": {"hom": {"sources": [], "weights": {}}}}
    with pytest.raises(BadInput) as caught:
        parsed(Serving, given, "Composer.user_config")
    assert str(caught.value) == (
        "Composer.user_config: scenarios: home, rank, search, similar missing; the API's calls are bound to them"
    )
