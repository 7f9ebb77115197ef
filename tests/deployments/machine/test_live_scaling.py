"""Scaled configs, and the policy as Serve's controller runs it."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from deployments.machine.live_scaling import Bounds, Scale, bound, hold, ignored, late, running_config, scales
from recsys.errors import BadInput, NotFound
from recsys.serving.scaling import Load

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported


def entry(name: str, **more: Any) -> dict[str, Any]:
    scaling = {"min_replicas": 1, "max_replicas": 2, "upscale_delay_s": 2.0, "downscale_delay_s": 60.0}
    return {"name": name, "autoscaling_config": scaling, "user_config": {"x": 1}} | more


def config() -> dict[str, Any]:
    deployments = [entry("Composer"), entry("shard-0"), {"name": "Encoder", "num_replicas": 1}]
    return {"http_options": {"port": 1}, "applications": [{"name": "recsys", "deployments": deployments}]}


def details(known: dict[str, Any], **running: int) -> dict[str, Any]:
    """What Serve answers once it has brought the config about; `running` for other numbers of replicas."""
    found = {}
    for e in known["applications"][0]["deployments"]:
        scaling = e.get("autoscaling_config")
        target = scaling["min_replicas"] if scaling else e["num_replicas"]
        count = running.get(e["name"].replace("-", "_"), target)
        replicas = [{"state": "RUNNING"}] * count + [{"state": "STARTING"}]
        config_ = {"autoscaling_config": scaling} if scaling else {}
        found[e["name"]] = {"target_num_replicas": target, "replicas": replicas, "deployment_config": config_}
    application = {"deployed_app_config": known["applications"][0], "deployments": found}
    return {"http_options": known["http_options"], "proxies": {}, "applications": {"recsys": application}}


def test_what_serve_says_is_what_it_takes():
    assert running_config(details(config())) == config()


def test_bounds_change_and_nothing_else():
    before = config()
    after = bound(before, "SHARD-0", Bounds.parse("2:6"))
    assert before == config()
    changed = after["applications"][0]["deployments"][1]["autoscaling_config"]
    assert (changed.pop("min_replicas"), changed.pop("max_replicas")) == (2, 6)
    before["applications"][0]["deployments"][1]["autoscaling_config"] = changed
    assert after == before
    fixed = bound(before, "encoder", Bounds.parse("3"))["applications"][0]["deployments"][2]
    assert fixed == {"name": "Encoder", "num_replicas": 3}


@pytest.mark.parametrize("text", ["0", "3:2", "-1", "x", "2:", ":2", "1:2:3", "", "1001", "1.5"])
def test_bounds_that_are_none_are_refused(text):
    with pytest.raises(BadInput, match="replicas"):
        Bounds.parse(text)


def test_unknown_and_fixed_deployments_are_refused():
    with pytest.raises(NotFound, match=r"'nope' is not one of Composer, Encoder, shard-0"):
        bound(config(), "nope", Bounds(1, 1))
    with pytest.raises(BadInput, match="fixed num_replicas"):
        bound(config(), "encoder", Bounds(1, 2))
    with pytest.raises(BadInput, match="nothing to hold"):
        hold(config(), "encoder", held=True)


def test_held_and_released_is_as_before():
    """Twice held is held once; the bounds can change in between; what has no delays of its own has Serve's."""
    plain = config()
    held = hold(hold(plain, None, held=True), "shard-0", held=True)
    assert {one.deployment: one.held for one in scales(details(held))} == {
        "Composer": True, "Encoder": False, "shard-0": True,
    }  # fmt: skip
    assert hold(held, None, held=False) == plain
    assert hold(bound(held, "shard-0", Bounds(2, 3)), None, held=False) == bound(plain, "shard-0", Bounds(2, 3))
    del plain["applications"][0]["deployments"][0]["autoscaling_config"]["upscale_delay_s"]
    [released, *_] = hold(hold(plain, None, held=True), None, held=False)["applications"][0]["deployments"]
    assert released["autoscaling_config"]["upscale_delay_s"] == 30.0


def test_serve_has_taken_over_or_is_late():
    before, after = config(), bound(config(), "shard-0", Bounds(2, 6))
    assert ignored(after, details(before)) == ["shard-0"]
    assert ignored(after, details(after, shard_0=1)) == []
    assert late(after, details(after, shard_0=1)) == ["shard-0"]
    assert late(after, details(after)) == []
    assert late(hold(before, "Composer", held=True), details(before)) == ["Composer"]
    assert late(bound(before, "encoder", Bounds(2, 2)), details(before)) == ["Encoder"]
    assert scales(details(after))[2] == Scale(deployment="shard-0", running=2, target=2, low=2, high=6, held=False)
    assert scales({"applications": {}}) == []


class Controller:
    """One deployment's policy with Serve's own bounds, factors and delays around it, at a clock of our own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **scaling: Any) -> None:
        from ray.serve import autoscaling_policy  # noqa: PLC0415 - takes a second
        from ray.serve.config import AutoscalingConfig, AutoscalingPolicy  # noqa: PLC0415

        kwargs = scaling.pop("policy_kwargs", {})
        policy = AutoscalingPolicy(policy_function="deployments.autoscaling:Utilisation", policy_kwargs=kwargs)
        self.config = AutoscalingConfig(policy=policy, **scaling)
        self._decide = autoscaling_policy._apply_autoscaling_config(policy.get_policy()(**kwargs))
        self._now, self._state = 0.0, {}
        self.running = self.target = self.config.min_replicas
        monkeypatch.setattr(autoscaling_policy.time, "time", lambda: self._now)

    def after(self, seconds: float, *loads: Load) -> int:
        """The target after so long a time of these loads, one a running replica; new replicas start at once."""
        from ray.serve.config import AutoscalingContext  # noqa: PLC0415

        for _ in range(round(seconds / 0.5)):
            self._now += 0.5
            given = [loads[i % len(loads)] for i in range(self.running)] if loads else []
            stats = {n: {f"r{i}": x.as_stats()[n] for i, x in enumerate(given)} for n in Load.__dataclass_fields__}
            context = AutoscalingContext(
                deployment_id=None, deployment_name="d", app_name="recsys", current_num_replicas=self.running,
                target_num_replicas=self.target, running_replicas=[], total_num_requests=0, total_queued_requests=0,
                aggregated_metrics=stats if loads else {}, raw_metrics={}, policy_state=copy.deepcopy(self._state),
                capacity_adjusted_min_replicas=self.config.min_replicas,
                capacity_adjusted_max_replicas=self.config.max_replicas,
                last_scale_up_time=None, last_scale_down_time=None, current_time=self._now, config=self.config,
            )  # fmt: skip
            decided, self._state = self._decide(context)
            self.target = min(max(decided, self.config.min_replicas), self.config.max_replicas)
            self.running = self.target
        return self.target


IDLE, BUSY = Load(0.02, 0.0, 0.0), Load(1.0, 1.0, 1.0)


def test_up_in_seconds_and_down_slowly_one_at_a_time(monkeypatch):
    controller = Controller(monkeypatch, min_replicas=1, max_replicas=4, upscale_delay_s=2, downscale_delay_s=60)
    assert controller.after(30, IDLE) == 1
    assert controller.after(1.5, BUSY) == 1
    assert controller.after(1.5, BUSY) == 4  # a queue: straight to the upper bound
    assert controller.after(55, IDLE) == 4
    assert controller.after(10, IDLE) == 3
    assert controller.after(62, IDLE) == 2
    assert controller.after(600, IDLE) == 1


def test_a_burst_shorter_than_the_delay_changes_nothing(monkeypatch):
    controller = Controller(monkeypatch, min_replicas=1, max_replicas=4, upscale_delay_s=2, downscale_delay_s=60)
    for _ in range(10):
        controller.after(1, BUSY)
        assert controller.after(1, IDLE) == 1


def test_the_busy_share_wanted_comes_from_the_config(monkeypatch):
    steady = Load(0.5, 0.0, 0.0)
    controller = Controller(monkeypatch, min_replicas=2, max_replicas=9, upscale_delay_s=0, policy_kwargs={"busy": 0.3})
    assert controller.after(0.5, steady) == 4  # two at 0.5 are four at 0.25
    loose = Controller(monkeypatch, min_replicas=2, max_replicas=9, upscale_delay_s=0, policy_kwargs={"busy": 0.8})
    assert loose.after(60, steady) == 2


def test_without_reports_nothing_changes(monkeypatch):
    """As when the replicas have only just started, or an old release reports nothing."""
    controller = Controller(monkeypatch, min_replicas=1, max_replicas=4, upscale_delay_s=0, downscale_delay_s=0)
    controller.running = controller.target = 3
    assert controller.after(60) == 3


def test_where_no_replica_is_left_one_is_wanted(monkeypatch):
    """Serve allows min_replicas 0; with no replica nobody would report a load, and the platform would never be up."""
    controller = Controller(monkeypatch, min_replicas=0, max_replicas=4, upscale_delay_s=0, downscale_delay_s=0)
    assert controller.after(2) == 1


def test_held_it_stays_whatever_the_load(monkeypatch):
    scaling = {"min_replicas": 1, "max_replicas": 4, "upscale_delay_s": 2.0, "downscale_delay_s": 2.0}
    known = {"applications": [{"deployments": [{"name": "d", "autoscaling_config": scaling}]}]}
    held = hold(known, None, held=True)["applications"][0]["deployments"][0]["autoscaling_config"]
    controller = Controller(monkeypatch, **held)
    controller.running = controller.target = 2
    assert controller.after(3600, BUSY) == 2
    assert controller.after(3600, IDLE) == 2
