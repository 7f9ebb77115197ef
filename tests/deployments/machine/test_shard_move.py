"""What Serve is handed while the shards of a platform change."""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson
import pytest
import yaml

from deployments.machine.config_apply import with_args_of
from deployments.machine.config_diff import MOVE, changes
from deployments.machine.shard_move import with_shards_of_both
from tests.support.live import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported


@cache
def local() -> dict[str, Any]:
    return yaml.safe_load((REPOSITORY / "configs" / "local.yaml").read_text())


def config(shards: int, **args: Any) -> dict[str, Any]:
    """configs/local.yaml with so many shards."""
    known: dict[str, Any] = orjson.loads(orjson.dumps(local()))  # no aliases
    application = known["applications"][0]
    application["args"] |= {"shards": shards, **args}
    parts = {part["name"]: part for part in application["deployments"]}
    shard = parts["shard-0"]
    application["deployments"] = [parts["Composer"], parts["Encoder"]]
    application["deployments"] += [{**shard, "name": f"shard-{number}"} for number in range(shards)]
    return known


def named(document: dict[str, Any]) -> tuple[int, list[str]]:
    application = document["applications"][0]
    return application["args"]["shards"], [part["name"] for part in application["deployments"]]


def test_shards_of_before_go_on_until_the_end() -> None:
    """With fewer shards in the file those that it does not name run on as they are; with more all are named."""
    fewer = with_shards_of_both(config(3), config(2))
    assert named(fewer) == (3, ["Composer", "Encoder", "shard-0", "shard-1", "shard-2"])
    assert fewer["applications"][0]["deployments"][-1] == config(3)["applications"][0]["deployments"][-1]
    assert named(with_shards_of_both(config(2), config(3))) == named(config(3))
    assert with_shards_of_both(config(2), config(2)) == config(2)


def test_arguments_keep_their_text_but_for_the_shards() -> None:
    """Serve builds the application anew for a default that is written down; for other shards it has to."""
    running, file = config(2), config(2)
    del running["applications"][0]["args"]["keep_versions"]
    assert with_args_of(running, file)["applications"][0]["args"] == running["applications"][0]["args"]
    routing = {"by": "attribute", "attribute": "language", "placed": {"en": [0, 2]}}
    args = with_args_of(running, config(3, routing=routing))["applications"][0]["args"]
    assert (args["shards"], args["routing"]) == (3, routing)
    assert "keep_versions" not in args


def test_a_changed_routing_is_a_move() -> None:
    """As is another number of shards."""
    routing = {"by": "attribute", "attribute": "language", "placed": {"en": [0, 1]}}
    found = changes(config(2), config(3, routing=routing))
    assert {change.how for change in found if change.setting.startswith("args.")} == {MOVE}
