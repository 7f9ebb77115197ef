"""Checks of a Serve config file, before anything is started or passed to replicas.

Ray's schema checks its own settings. This module checks what Ray passes on unread (`args`, `user_config`, the arguments
of a policy), and what Serve allows and this application does not support.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from recsys.config.base import Settings
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import EncoderTuning, ShardTuning
from recsys.errors import BadInput
from recsys.ranking.scenarios import check
from recsys.serving.scaling import Targets
from recsys.serving.settings_follower import parsed

_BUILDER = "deployments.app:build_app"
_POLICY = "deployments.autoscaling:Utilisation"


def is_ours(application: Mapping[str, Any]) -> bool:
    """Return whether the application is this one. Other applications in the file are not checked."""
    return application.get("import_path") == _BUILDER


def judge(application: Mapping[str, Any], platform: Platform, serving: Serving) -> None:
    """Raise BadInput, in one line, for the first setting that the platform cannot use.

    `platform` and `serving` were read from the same file.
    """
    check(serving, platform)
    for entry in _entries(application):
        name = entry["name"]
        _judge_name(name)
        _judge_scaling(entry)
        if name != "Composer":
            parsed(settings_model(name), entry.get("user_config"), f"{name}.user_config")


def settings_model(deployment: str) -> type[Settings]:
    """Return the model of a deployment's `user_config`."""
    models: dict[str, type[Settings]] = {"Composer": Serving, "Encoder": EncoderTuning}
    return models.get(deployment, ShardTuning)


def judge_complete(application: Mapping[str, Any], shards: int) -> None:
    """Raise BadInput unless the file names every deployment exactly once, and no other.

    A deployment that is not named would run with Serve's defaults, which allow five requests at a time on a replica.
    """
    names = [entry["name"] for entry in _entries(application)]
    graph = ["Composer", "Encoder", *(f"shard-{number}" for number in range(shards))]
    for wrong, what in (
        ([name for name in graph if name not in names], "is missing: add an entry like its sisters'"),
        ([name for name in names if name not in graph], "is one too many: take it out"),
        ([name for name in graph if names.count(name) > 1], "stands there twice: take one out"),
    ):
        if wrong:
            raise BadInput(f"deployments: args.shards is {shards}, and {wrong[0]} {what}", field="deployments")


def _entries(application: Mapping[str, Any]) -> list[dict[str, Any]]:
    return application.get("deployments") or []


def _judge_name(name: str) -> None:
    """Raise BadInput unless the name is possible with some number of shards."""
    if name in ("Composer", "Encoder") or re.fullmatch(r"shard-(0|[1-9][0-9]*)", name):
        return
    close = get_close_matches(name, ["Composer", "Encoder", "shard-0"], n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise BadInput(
        f"deployments: there is no {name!r}, only Composer, Encoder, shard-0, shard-1, …{meant}", field=f"{name}.name"
    )


def _judge_scaling(entry: dict[str, Any]) -> None:
    """Raise BadInput for bounds below 1, which Serve allows, and for unknown arguments of the policy.

    Without a replica nothing measures the load, so no replica would ever start.
    """
    for field, value in _counts(entry):
        if isinstance(value, int) and value < 1:
            place = f"{entry['name']}.{field}"
            raise BadInput(f"{place}: must be 1 or more: without a replica nothing measures the load", field=place)
    policy = (entry.get("autoscaling_config") or {}).get("policy") or {}
    if policy.get("policy_function") == _POLICY:
        targets = Targets.__dataclass_fields__
        for name, value in (policy.get("policy_kwargs") or {}).items():
            place = f"{entry['name']}.autoscaling_config.policy.policy_kwargs.{name}"
            if name not in targets:
                raise BadInput(f"{place}: is no target; there are {', '.join(targets)}", field=place)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise BadInput(f"{place}: must be a number over 0", field=place)


def _counts(entry: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "num_replicas", entry.get("num_replicas")
    scaling = entry.get("autoscaling_config") or {}
    for field in ("min_replicas", "initial_replicas", "max_replicas"):
        yield f"autoscaling_config.{field}", scaling.get(field)
