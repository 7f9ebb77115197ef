"""What `recsys node` refuses, and what it hands to Ray; that a cluster runs is in tests/cluster/test_three_nodes.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments.machine.cluster_node import ClusterNode, Place
from deployments.machine.cluster_redis import gcs_redis, refuse_if_local
from deployments.machine.cluster_token import cluster_token
from deployments.machine.environment import ray_environment
from deployments.machine.instance import Instance, instance_id, runtime_dir
from deployments.machine.runtime import Resources
from deployments.machine.serve_config import ServeConfig, read_config
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure
from tests.support.live import REPOSITORY, free_ports

HERE = "10.0.0.2"


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., ServeConfig]:
    """configs/production.yaml with other `args`, and a host of the API."""

    def make(host: str = "0.0.0.0", **args: Any) -> ServeConfig:
        document = yaml.safe_load((REPOSITORY / "configs" / "production.yaml").read_text())
        ports = free_ports()
        document["http_options"] |= {"host": host, "port": ports.pop("http")}
        document["applications"][0]["args"] |= {"data_dir": str(tmp_path / "var"), "ports": ports, **args}
        composer = document["applications"][0]["deployments"][0]
        composer["user_config"]["security"] = {"allow_no_keys": True}
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(document))
        return read_config(file)

    return make


def node_instance(tmp_path: Path, **more: Any) -> Instance:
    return Instance(
        id=instance_id(tmp_path), home=tmp_path, config_file=tmp_path / "c.yaml", api_url="", dashboard_url="",
        redis_url="redis://10.0.0.9", embedded_redis=False, runtime_dir=runtime_dir(tmp_path), ports=Ports(),
        **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "redis_url is unset"),
        ("unix:///tmp/redis", "is of this machine alone"),
        ("redis://localhost:6379/0", "is of this machine alone"),
        ("redis://:secret@127.0.0.1:6379/0", "is of this machine alone"),
        ("sentinel://127.0.0.1:26379,10.0.0.3:26379/shop", "is of this machine alone"),
    ],
)
def test_a_redis_that_others_do_not_reach_is_refused(url: str | None, says: str) -> None:
    """In one line, which names the fix and no password."""
    with pytest.raises(RuntimeFailure, match=says) as refused:
        refuse_if_local(url)
    assert "every machine reaches" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_node_needs_an_address_that_others_reach(config: Callable[..., ServeConfig]) -> None:
    """Of its own, and of the API's entrance: one machine's HAProxy reaches the composers of all."""
    resources = Resources(memory_needed=0)
    with pytest.raises(RuntimeFailure, match="recsys up"):
        ClusterNode(config(), "127.0.0.1").foreseen(Place(address="127.0.0.1"), resources=resources)
    closed = config(host="127.0.0.1")
    with pytest.raises(RuntimeFailure, match=r"http_options\.host is 127\.0\.0\.1"):
        ClusterNode(closed, HERE).foreseen(Place(address=HERE), resources=resources)


def test_nothing_is_left_of_a_start_that_was_refused(config: Callable[..., ServeConfig], tmp_path: Path) -> None:
    """A Redis that does not answer, say."""
    unreachable = config(redis_url="redis://127.0.0.2:1/0")
    with pytest.raises(RuntimeFailure):
        ClusterNode(unreachable, HERE).up(Place(address=HERE))
    assert not list(tmp_path.rglob("instance.json"))


def test_the_head_makes_a_token_and_others_need_it(tmp_path: Path) -> None:
    """It is made once: a head that starts again has the token that the others know."""
    with pytest.raises(RuntimeFailure, match="copy it from the head"):
        cluster_token(tmp_path, None, make=False)
    token = cluster_token(tmp_path, None, make=True)
    assert len(token) == 64
    assert cluster_token(tmp_path, None, make=True) == cluster_token(tmp_path, None, make=False) == token
    assert (tmp_path / "run" / "token").stat().st_mode & 0o777 == 0o600


def test_a_token_that_others_can_read_or_that_is_empty_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc")
    file.chmod(0o644)
    with pytest.raises(RuntimeFailure, match="chmod 600"):
        cluster_token(tmp_path, file, make=True)
    file.chmod(0o600)
    assert cluster_token(tmp_path, file, make=True) == "abc"
    file.write_text("\n")
    with pytest.raises(RuntimeFailure, match="is empty"):
        cluster_token(tmp_path, file, make=True)


def test_ray_is_told_where_redis_is() -> None:
    """With its password as an option, since Ray takes it in no other way."""
    plain = gcs_redis("redis://10.0.0.9:6380/0")
    assert (plain.address, plain.options()) == ("10.0.0.9:6380", [])
    guarded = gcs_redis("rediss://recsys:p%40ss@redis.example/0")
    assert guarded.address == "rediss://redis.example:6379"
    assert guarded.options() == ["--redis-username=recsys", "--redis-password=p@ss"]
    assert "p@ss" not in repr(guarded)


def test_a_node_listens_on_its_own_address(tmp_path: Path) -> None:
    """And not on loopback, where the others would not reach it; a machine for itself keeps to loopback."""
    alone = ray_environment(node_instance(tmp_path), {})
    node = ray_environment(node_instance(tmp_path, address=HERE, joined="10.0.0.1:6385"), {})
    assert alone["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert "RECSYS_NODE_ADDRESS" not in alone
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in node
    assert node["RECSYS_NODE_ADDRESS"] == HERE
    assert {"10.0.0.1", HERE} <= set(node["no_grpc_proxy"].split(","))


def test_two_nodes_that_share_a_folder_do_not_share_processes(config: Callable[..., ServeConfig]) -> None:
    """Each has its own files, mark and sockets: `down` on one ends nothing of the other."""
    one, other = ClusterNode(config(), "10.0.0.1"), ClusterNode(config(), HERE)
    assert one.home != other.home
    assert instance_id(one.home) != instance_id(other.home)


def test_what_does_not_run_says_how_to_start_it(config: Callable[..., ServeConfig]) -> None:
    node = ClusterNode(config(), HERE)
    with pytest.raises(RuntimeFailure, match="recsys node up"):
        node.running()
    assert node.processes() == node.down() == 0
