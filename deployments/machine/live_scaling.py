"""Live scaling: the config that Serve runs is submitted again with other bounds. Serve restarts no replica for that."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsys.config.base import Settings
from recsys.errors import BadInput, NotFound

_HELD_S = 1e9
"""Seconds, 31 years, added to both delays of a held deployment and subtracted on release. Its bounds still hold.

A flag in the policy's arguments would be simpler, but Serve restarts the application when those change."""

_DELAYS = {"upscale_delay_s": 30.0, "downscale_delay_s": 600.0}
"""The delays and Serve's defaults, from `ray.serve.config.AutoscalingConfig`."""

_PARTS = ("proxy_location", "http_options", "grpc_options", "target_capacity")
"""Parts of the config that Serve reports beside the applications."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of the number of replicas, both inclusive."""

    low: int
    high: int

    @classmethod
    def parse(cls, text: str) -> Bounds:
        """Return the bounds of `3` or `2:6`. Raises BadInput for anything else."""
        low, colon, high = text.partition(":")
        try:
            return cls.of(int(low), int(high) if colon else int(low))
        except ValueError:
            raise BadInput(
                f"replicas: {text!r} is neither a number nor MIN:MAX, such as 2:6", field="replicas"
            ) from None

    @classmethod
    def of(cls, low: int, high: int) -> Bounds:
        """Return the bounds. Raises BadInput unless 1 <= low <= high <= 1000."""
        if not 1 <= low <= high <= 1000:
            raise BadInput(f"replicas: {low}:{high} must be 1 <= MIN <= MAX <= 1000", field="replicas")
        return cls(low, high)


class Scale(Settings):
    """The scale of a running deployment."""

    deployment: str
    running: int
    """Replicas that take requests."""
    target: int
    """Replicas that the load requires now."""
    low: int
    high: int
    """Bounds of the target, both inclusive."""
    held: bool
    """Whether the number of replicas is kept, whatever the load."""


def running_config(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the running config from the answer of `GET /api/serve/applications/`."""
    parts = {part: details[part] for part in _PARTS if details.get(part) is not None}
    applications = [application["deployed_app_config"] for application in details["applications"].values()]
    return copy.deepcopy({**parts, "applications": applications})


def scales(details: Mapping[str, Any]) -> list[Scale]:
    """Return the scale of every deployment of the first application, by name."""
    deployments = []
    applications: list[dict[str, Any]] = list(details["applications"].values())
    for name, deployment in sorted(applications[0]["deployments"].items() if applications else ()):
        running = sum(replica["state"] == "RUNNING" for replica in deployment["replicas"])
        target, scaling = deployment["target_num_replicas"], deployment["deployment_config"].get("autoscaling_config")
        low, high = (scaling["min_replicas"], scaling["max_replicas"]) if scaling else (target, target)
        held = is_held(scaling)
        deployments.append(Scale(deployment=name, running=running, target=target, low=low, high=high, held=held))
    return deployments


def foreseen(config: Mapping[str, Any], details: Mapping[str, Any]) -> list[Scale]:
    """Return `scales` as they would be with this config: bounds, hold, and the target within the bounds."""
    goals = {entry["name"]: entry for entry in config["applications"][0]["deployments"]}
    deployments = []
    for one in scales(details):
        low, high, held = _wanted(goals.get(one.deployment, {}), one)
        target = min(max(one.target, low), high)
        deployments.append(one.model_copy(update={"target": target, "low": low, "high": high, "held": held}))
    return deployments


def ignored(config: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the deployments whose bounds or hold differ from the config's. Serve takes a config over with a delay."""
    goals = {entry["name"]: entry for entry in config["applications"][0]["deployments"]}
    return [
        one.deployment
        for one in scales(details)
        if (one.low, one.high, one.held) != _wanted(goals.get(one.deployment, {}), one)
    ]


def _wanted(goal: Mapping[str, Any], now: Scale) -> tuple[int, int, bool]:
    """Return bounds and hold of a deployment by its entry in a config. `now`: the deployment as it runs."""
    scaling, fixed = goal.get("autoscaling_config"), goal.get("num_replicas", now.target)
    low, high = (scaling["min_replicas"], scaling["max_replicas"]) if scaling else (fixed, fixed)
    return low, high, is_held(scaling)


def late(config: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the deployments that do not yet run as in the config."""
    moving = [one.deployment for one in scales(details) if one.running != one.target]
    return sorted({*moving, *ignored(config, details)})


def behind(config: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the deployments with a replica that does not yet have the config's `user_config`, and those that have not
    ended though the config does not name them.
    """
    application = config["applications"][0]
    running = details["applications"][application["name"]]["deployments"]
    late = [
        entry["name"]
        for entry in application["deployments"]
        if (one := running.get(entry["name"])) is None
        or one["status"] != "HEALTHY"
        or one["deployment_config"].get("user_config") != entry.get("user_config")
    ]
    return late + sorted(running.keys() - {entry["name"] for entry in application["deployments"]})


def bound(config: Mapping[str, Any], deployment: str, bounds: Bounds) -> dict[str, Any]:
    """Return the config with these bounds for a deployment. Raises NotFound when there is no such deployment, and
    BadInput when it has a fixed number of replicas.
    """
    changed = copy.deepcopy(dict(config))
    entry = _entry(changed, deployment)
    if "autoscaling_config" in entry:
        entry["autoscaling_config"] |= {"min_replicas": bounds.low, "max_replicas": bounds.high}
        entry["autoscaling_config"].pop("initial_replicas", None)  # it may be outside the new bounds
    elif bounds.low == bounds.high:
        entry["num_replicas"] = bounds.low
    else:
        raise BadInput(
            f"{entry['name']} has a fixed num_replicas: scale it to one number, or give it an autoscaling_config",
            field="replicas",
        )
    return changed


def hold(config: Mapping[str, Any], deployment: str | None, *, held: bool) -> dict[str, Any]:
    """Return the config with a deployment held or released. `deployment` None: every one that scales by load.

    Raises NotFound when there is no such deployment, and BadInput when it does not scale by load.
    """
    changed = copy.deepcopy(dict(config))
    entries = [_entry(changed, deployment)] if deployment else changed["applications"][0]["deployments"]
    for entry in entries:
        scaling = entry.get("autoscaling_config")
        if scaling is None and deployment:
            raise BadInput(f"{entry['name']} has a fixed num_replicas: there is nothing to hold", field="deployment")
        if scaling is not None and is_held(scaling) != held:
            for delay, default_s in _DELAYS.items():
                scaling[delay] = scaling.get(delay, default_s) + (_HELD_S if held else -_HELD_S)
    return changed


def _entry(config: dict[str, Any], deployment: str) -> dict[str, Any]:
    """Return the entry of a deployment. The case of its name does not matter."""
    entries: list[dict[str, Any]] = config["applications"][0]["deployments"] if config["applications"] else []
    for entry in entries:
        if entry["name"].lower() == deployment.lower():
            return entry
    names = ", ".join(sorted(entry["name"] for entry in entries))
    raise NotFound(f"deployment: {deployment!r} is not one of {names}", field="deployment")


def is_held(scaling: Mapping[str, Any] | None) -> bool:
    """Return whether this autoscaling_config holds its deployment."""
    return scaling is not None and all(scaling.get(delay, 0.0) >= _HELD_S for delay in _DELAYS)


def let_go(scaling: Mapping[str, Any]) -> dict[str, Any]:
    """Return the autoscaling_config of a held deployment as it was before."""
    return {**scaling, **{delay: scaling[delay] - _HELD_S for delay in _DELAYS}}
