"""Every file in configs/ is what Serve, the graph and our own settings say that it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from deployments.machine.serve_config import read_for_serve
from recsys.config.platform import Platform
from recsys.config.serving import Serving
from recsys.config.tuning import EncoderTuning, ShardTuning
from tests.support.live import LOCAL, REPOSITORY

FILES = [
    file
    for file in sorted((REPOSITORY / "configs").rglob("*.yaml"))
    if "applications" in (yaml.safe_load(file.read_text().partition("\n---\n")[0]) or {})
]
TUNING: dict[str, type[BaseModel]] = {"Composer": Serving, "Encoder": EncoderTuning, "shard": ShardTuning}


def deployments(file: Path) -> dict[str, dict[str, Any]]:
    [application] = yaml.safe_load(file.read_text())["applications"]
    return {deployment["name"]: deployment for deployment in application["deployments"]}


def test_there_are_files() -> None:
    assert LOCAL in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_passes_serves_schema_and_ours(file: Path) -> None:
    config = read_for_serve(file)
    assert config.serving.scenarios
    assert config.tuning.ef_search


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_user_config_of_every_deployment_is_its_settings(file: Path) -> None:
    """Such as Serve hands it to the replicas' reconfigure."""
    for name, deployment in deployments(file).items():
        model = TUNING[name.partition("-")[0]]
        assert model.model_validate(deployment.get("user_config") or {}), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own, when it is imported
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_file_names_the_deployments_of_the_graph(file: Path) -> None:
    """No more, which Serve refuses, and no less, which would leave one at Serve's defaults."""
    from ray.serve._private.build_app import build_app as built  # noqa: PLC0415 - takes seconds

    from deployments.app import AppArgs, build_app  # noqa: PLC0415

    [application] = yaml.safe_load(file.read_text())["applications"]
    assert application["import_path"] == "deployments.app:build_app"
    graph = built(build_app(AppArgs.model_validate(application["args"])), name="recsys")
    assert {deployment.name for deployment in graph.deployments} == deployments(file).keys()
    assert graph.ingress_deployment_name == "Composer"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_shards_scale_and_are_tuned_alike(file: Path) -> None:
    """A shard apart would be a slip: every slate waits for the slowest one."""
    shards = [{**d, "name": None} for name, d in deployments(file).items() if name.startswith("shard-")]
    assert shards
    assert all(shard == shards[0] for shard in shards)


def undocumented(defaults: BaseModel, value: dict[str, Any], at: str) -> list[str]:
    """Settings, and settings directly within them, that the value does not name."""
    missing = []
    for name in type(defaults).model_fields:
        inner = getattr(defaults, name)
        if name not in value:
            missing.append(f"{at}.{name}")
        elif isinstance(inner, BaseModel):
            missing += undocumented(inner, value[name], f"{at}.{name}")
    return missing


def test_the_laptops_file_names_every_setting() -> None:
    """So that whoever wants to change one finds it there. `routing.attribute` is for another way of routing."""
    [application] = yaml.safe_load(LOCAL.read_text())["applications"]
    found = deployments(LOCAL)
    missing = undocumented(Platform(), application["args"], "args")
    missing += undocumented(Serving(), found["Composer"]["user_config"], "Composer")
    missing += undocumented(EncoderTuning(), found["Encoder"]["user_config"], "Encoder")
    missing += undocumented(ShardTuning(), found["shard-0"]["user_config"], "shard-0")
    assert missing == ["args.routing.attribute"]


def test_the_laptops_file_says_what_the_defaults_are() -> None:
    """Leaving a key out changes nothing; only the attributes have no default worth the name."""
    config = read_for_serve(LOCAL)
    assert config.serving == Serving()
    assert config.tuning == ShardTuning()
    assert EncoderTuning.model_validate(deployments(LOCAL)["Encoder"]["user_config"]) == EncoderTuning()
    assert config.platform.model_copy(update={"attributes": {}}) == Platform()


def test_the_laptops_file_listens_on_loopback_only() -> None:
    assert yaml.safe_load(LOCAL.read_text())["http_options"]["host"] == "127.0.0.1"
