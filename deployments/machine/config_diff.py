"""The differences between a config file and the running platform, setting by setting, and what each change takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from deployments.machine.config_check import is_ours, settings_model
from deployments.machine.live_scaling import is_held, let_go
from deployments.machine.serve_config import for_serve
from recsys.config.platform import Platform

How = Literal["live", "live, after a build beside", "its replicas restart, in turn", "recsys down, then recsys up"]
LIVE: How = "live"
MOVE: How = "live, after a build beside"
REPLICAS: How = "its replicas restart, in turn"
START: How = "recsys down, then recsys up"

_ACTOR = ("ray_actor_options", "placement_group", "max_replicas_per_node", "gang_scheduling_config")
"""Prefixes of a deployment's settings for which Serve replaces its replicas: `DeploymentVersion` in
ray/serve/_private/version.py."""
_CODE = ("request_router_config", "deployment_actors")
"""Prefixes of settings that Serve counts as code, and replicas take over only when they start."""
_WHOLE = ("proxy_location", "http_options", "grpc_options", "logging_config")
"""Settings of all applications together."""
_SHARDS = ("args.shards", "args.routing")
"""What a version is built for, see `shard_move.py`."""
_ENCODER = "recsys build FILES --promote"

Flat = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that differs between the running platform and the file."""

    setting: str
    """Such as `shard-0.user_config.ef_search`."""
    old: Any
    """None: it is null, or not set, so that Serve's default is used."""
    new: Any
    how: How
    also: str | None = None
    """A command that the change needs between `recsys down` and `recsys up`."""


def changes(running: Mapping[str, Any], file: Mapping[str, Any]) -> list[Change]:
    """Return the changes in the order of the file, then the settings that only the running config has.

    Both are Serve configs. This project's settings are compared by value, so writing a default into the file changes
    nothing.
    """
    old, new = (dict(_settings(for_serve(dict(config)))) for config in (running, file))
    return [
        Change(name, old.get(name), new.get(name), _how(name), _also(name))
        for name in [*new, *(name for name in old if name not in new)]
        if old.get(name) != new.get(name)
    ]


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 - has Serve's defaults, and takes a second to import

    [application, *_] = config["applications"]
    whole = ServeDeploySchema.model_validate(config).model_dump(mode="json", include={*_WHOLE})
    for name in _WHOLE:
        yield from _flat(name, whole[name])
    inherited = config.get("logging_config")  # Serve copies it into applications without one
    for name, value in application.items():
        if name not in ("args", "deployments") and not (name == "logging_config" and value == inherited):
            yield from _flat(f"application.{name}", value)
    ours = is_ours(application)
    yield from _flat("args", _with_defaults(Platform, application.get("args")) if ours else application.get("args"))
    for entry in application.get("deployments") or ():
        yield from _deployment(entry, ours=ours)


def _deployment(entry: Mapping[str, Any], *, ours: bool) -> Iterator[tuple[str, Any]]:
    name, scaling, settings = entry["name"], entry.get("autoscaling_config"), entry.get("user_config")
    if scaling is not None and is_held(scaling):
        yield f"{name}.held", True
        entry = {**entry, "autoscaling_config": let_go(scaling)}
    for key, value in entry.items():
        if key not in ("name", "user_config"):
            yield from _flat(f"{name}.{key}", value)
    yield from _flat(f"{name}.user_config", _with_defaults(settings_model(name), settings) if ours else settings)


def _with_defaults(model: type[BaseModel], settings: Any) -> Any:
    """Return all settings of the model. Invalid settings, which other tools may have submitted, are returned as they
    are.
    """
    try:
        return model.model_validate(settings or {}).model_dump(mode="json")
    except ValidationError:
        return settings


def _flat(at: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each value that is not a mapping, with its path."""
    if not isinstance(value, Mapping):
        yield at, value
        return
    for key, inner in value.items():
        yield from _flat(f"{at}.{key}", inner)


def _how(setting: str) -> How:
    first, _, rest = setting.partition(".")
    if setting.startswith(_SHARDS):
        return MOVE
    if first in ("args", "http_options", "grpc_options", "proxy_location"):
        return START
    if first == "application":
        return LIVE if rest.startswith("logging_config") else START
    if rest.startswith(_CODE):
        return START
    return REPLICAS if rest.startswith(_ACTOR) else LIVE


def _also(setting: str) -> str | None:
    return _ENCODER if setting.startswith("args.encoder") else None
