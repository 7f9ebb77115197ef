"""What a changed config file changes of the platform that runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import orjson
import pytest
import yaml

from deployments.machine.config_apply import refuse_starts
from deployments.machine.config_diff import LIVE, MOVE, REPLICAS, START, Change, changes
from deployments.machine.live_scaling import hold
from recsys.errors import BadInput
from tests.support.live import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported
Change_ = Callable[[dict[str, Any]], object]


@cache
def local() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "configs" / "local.yaml").read_text())


def config() -> dict[str, Any]:
    return orjson.loads(orjson.dumps(local()))  # no aliases


def application(known: dict[str, Any]) -> dict[str, Any]:
    return known["applications"][0]


def entry(known: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in application(known)["deployments"] if one["name"] == name)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda k: entry(k, "Composer")["user_config"].update(max_batch=32),
            Change("Composer.user_config.max_batch", 64, 32, LIVE),
        ),
        (
            lambda k: entry(k, "Composer")["user_config"]["event_types"]["click"].update(weight=0.8),
            Change("Composer.user_config.event_types.click.weight", 0.5, 0.8, LIVE),
        ),
        (
            lambda k: entry(k, "Composer")["user_config"]["event_types"]["click"].update(liked_from=2),
            Change("Composer.user_config.event_types.click.liked_from", None, 2, LIVE),
        ),
        (
            lambda k: entry(k, "Composer")["user_config"].pop("profile_ttl_s"),
            None,  # the default is what stood there
        ),
        (
            lambda k: entry(k, "shard-0")["autoscaling_config"].update(max_replicas=3),
            Change("shard-0.autoscaling_config.max_replicas", 1, 3, LIVE),
        ),
        (
            lambda k: entry(k, "Encoder").update(max_ongoing_requests=500),
            Change("Encoder.max_ongoing_requests", 1000, 500, LIVE),
        ),
        (
            lambda k: entry(k, "Encoder").update(ray_actor_options={"num_cpus": 0.5}),
            Change("Encoder.ray_actor_options.num_cpus", 0.1, 0.5, REPLICAS),
        ),
        (
            lambda k: entry(k, "shard-1")["autoscaling_config"]["policy"]["policy_kwargs"].update(busy=0.5),
            Change("shard-1.autoscaling_config.policy.policy_kwargs.busy", 0.6, 0.5, LIVE),
        ),
        (
            lambda k: k["logging_config"].update(log_level="DEBUG"),
            Change("logging_config.log_level", "INFO", "DEBUG", LIVE),
        ),
        (lambda k: k["http_options"].update(port=8010), Change("http_options.port", 8000, 8010, START)),
        (
            lambda k: application(k)["args"]["ports"].update(gcs=6400),
            Change("args.ports.gcs", 6385, 6400, START),
        ),
        (
            lambda k: application(k)["args"].update(shards=4),
            Change("args.shards", 2, 4, MOVE),
        ),
        (
            lambda k: application(k)["args"]["encoder"].update(max_tokens=128),
            Change("args.encoder.max_tokens", 256, 128, START, "recsys build FILES --promote"),
        ),
        (lambda k: application(k)["args"].pop("keep_versions"), None),
    ],
)
def test_each_change_says_what_it_takes(change: Change_, expected: Change | None) -> None:
    """By setting, with the value of before and of then; a default may be written down or left out."""
    wanted = config()
    change(wanted)
    assert changes(config(), wanted) == ([] if expected is None else [expected])


def test_what_serve_writes_into_a_config_is_no_change() -> None:
    """An application without a logging_config gets the one of all, and HTTP options their defaults."""
    running, wanted = config(), config()
    application(running)["logging_config"] = running["logging_config"]
    running["http_options"] |= {"root_path": "", "keep_alive_timeout_s": 90}
    assert changes(running, wanted) == []
    wanted["logging_config"]["log_level"] = "DEBUG"
    assert changes(running, wanted) == [Change("logging_config.log_level", "INFO", "DEBUG", LIVE)]


def test_what_was_changed_by_hand_goes_back() -> None:
    """Deployments that `recsys hold` keeps are let go by a file that says nothing of it."""
    [change] = changes(hold(config(), "shard-0", held=True), config())
    assert change == Change("shard-0.held", True, None, LIVE)


def test_what_runs_with_wrong_settings_can_be_mended() -> None:
    """They may have come past the commands; then they are compared as they stand."""
    running = config()
    entry(running, "Encoder")["user_config"] = {"max_batch": 0}
    found = changes(running, config())
    assert Change("Encoder.user_config.max_batch", 0, 32, LIVE) in found
    assert all(change.how == LIVE for change in found)


def test_what_takes_a_start_is_refused_with_its_steps() -> None:
    wanted = config()
    application(wanted)["args"] |= {"shards": 3, "keep_versions": 5}
    application(wanted)["args"]["encoder"]["max_tokens"] = 128
    entry(wanted, "Composer")["user_config"]["max_batch"] = 8
    with pytest.raises(BadInput) as caught:
        refuse_starts(changes(config(), wanted))
    assert str(caught.value) == (
        "args.keep_versions, args.encoder.max_tokens: takes a start (recsys down, recsys build FILES --promote, recsys "
        "up); "
        "nothing was changed"
    )
    refuse_starts([Change("Composer.user_config.max_batch", 64, 8, LIVE), Change("args.shards", 2, 3, MOVE)])
