from __future__ import annotations

import os
from pathlib import Path

import pytest
import ray

from deployments.machine.environment import Tuning, ray_environment
from deployments.machine.instance import Instance, instance_id, read_instance, runtime_dir, state_file
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure

RAY = Path(ray.__file__).parent
LONGEST_UID = 4_294_967_294
SOCKET_PATH_LIMIT = 107


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(
        id=instance_id(tmp_path),
        home=tmp_path,
        config_file=tmp_path / "config.yaml",
        api_url="http://127.0.0.1:8100",
        dashboard_url="http://127.0.0.1:8266",
        redis_url="unix:///tmp/socket",
        embedded_redis=True,
        runtime_dir=runtime_dir(tmp_path),
        ports=Ports(),
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.2"])
def test_every_variable_is_one_that_this_ray_reads(instance: Instance, address: str) -> None:
    env = ray_environment(instance.model_copy(update={"address": address}), {})
    names = {name for name in env if name.startswith(("RAY_", "DASHBOARD_", "METRICS_", "REPORTER_"))}
    sources = [
        RAY / "serve" / "_private" / "constants.py",
        RAY / "serve" / "scripts.py",
        RAY / "_private" / "ray_constants.py",
        RAY / "dashboard" / "consts.py",
        RAY / "dashboard" / "modules" / "reporter" / "reporter_consts.py",
        RAY / "_common" / "usage" / "usage_constants.py",
        RAY / "core" / "src" / "ray" / "raylet" / "raylet",
    ]
    text = b"".join(source.read_bytes() for source in sources)
    assert {name for name in names if name.encode() not in text} == set()


def test_what_points_ray_elsewhere_is_dropped(instance: Instance) -> None:
    elsewhere = {"RAY_ADDRESS": "10.0.0.1:6379", "RAY_AUTH_TOKEN": "theirs", "RAY_REDIS_ADDRESS": "10.0.0.1:6379"}
    env = ray_environment(instance, {**elsewhere, "PATH": "/bin"})
    assert env["PATH"] == "/bin"
    assert not elsewhere.keys() & env.keys()


def test_the_users_import_path_stays_behind_ours(instance: Instance) -> None:
    root, theirs = ray_environment(instance, {"PYTHONPATH": "/theirs"})["PYTHONPATH"].split(os.pathsep)
    assert theirs == "/theirs"
    assert (Path(root) / "deployments" / "machine" / "environment.py").is_file()


@pytest.mark.parametrize("embedded", [True, False])
def test_replicas_learn_where_redis_is(instance: Instance, embedded: bool) -> None:
    """Also where someone else runs it: a URL with a password is not in the arguments that Serve logs."""
    env = ray_environment(instance.model_copy(update={"embedded_redis": embedded}), {"RECSYS_REDIS_URL": "other"})
    assert env["RECSYS_REDIS_URL"] == "unix:///tmp/socket"


def test_tuning_reaches_serve(instance: Instance) -> None:
    env = ray_environment(instance, {}, Tuning(haproxy_threads=4, draining_s=30))
    assert env["RAY_SERVE_HAPROXY_NBTHREAD"] == "4"
    assert env["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] == "30"


def test_haproxys_files_have_one_path_in_a_cluster_and_go_with_the_machine(instance: Instance) -> None:
    """Serve hands every machine the settings of the head, wherever its runtime folder is."""
    control_store = f"10.0.0.1:{instance.ports.gcs}"
    head = instance.model_copy(update={"address": "10.0.0.1"})
    other = Path("/srv/other")
    worker = instance.model_copy(
        update={"address": "10.0.0.2", "joined": control_store, "home": other, "runtime_dir": runtime_dir(other)}
    )
    for name in ("CONFIG_FILE_LOC", "SOCKET_PATH", "SERVER_STATE_FILE"):
        path = f"RAY_SERVE_HAPROXY_{name}"
        assert ray_environment(head, {})[path] == ray_environment(worker, {})[path]
    head.prepare()
    (head.haproxy_dir / "c").touch()
    head.remove()
    assert not head.haproxy_dir.exists()


def test_socket_paths_stay_short_enough(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: LONGEST_UID)
    folder = runtime_dir(instance.home)
    env = ray_environment(instance.model_copy(update={"runtime_dir": folder}), {})
    node, haproxy_suffix = "0" * 56, ".4194304.tmp"
    haproxy = Path(env["RAY_SERVE_HAPROXY_SOCKET_PATH"])
    session = "session_2026-01-01_00-00-00_000000_4194304"
    assert len(str(haproxy.parent / node / haproxy.name)) + len(haproxy_suffix) <= SOCKET_PATH_LIMIT
    assert len(str(folder / "ray" / session / "sockets" / "plasma_store")) <= SOCKET_PATH_LIMIT
    assert len(str(folder / "ray" / session / "sockets" / "dash_MetricsHead")) <= SOCKET_PATH_LIMIT


def test_state_is_read_back_and_for_its_owner_only(instance: Instance) -> None:
    assert read_instance(instance.home) is None
    instance.write()
    assert read_instance(instance.home) == instance
    assert state_file(instance.home).stat().st_mode & 0o777 == 0o600


def test_state_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    state_file(tmp_path).parent.mkdir()
    state_file(tmp_path).write_text("{")
    with pytest.raises(RuntimeFailure, match="remove it"):
        read_instance(tmp_path)


def test_a_runtime_folder_that_is_a_link_is_refused(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RuntimeFailure, match="belongs to someone else"):
        instance.model_copy(update={"runtime_dir": tmp_path / "link" / "x"}).prepare()


def test_processes_have_two_heaps_unless_the_user_says_otherwise(instance: Instance) -> None:
    """glibc's default of eight a core kept 33 to 43 MiB more in each busy replica."""
    assert ray_environment(instance, {})["MALLOC_ARENA_MAX"] == "2"
    assert ray_environment(instance, {"MALLOC_ARENA_MAX": "8"})["MALLOC_ARENA_MAX"] == "8"
