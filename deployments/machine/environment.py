"""The environment for Ray, each variable with its reason. The variables are those of Ray 2.60's sources.

Ray reads most of them once, when a process imports it. They must be set before `ray start` and must not change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import deployments
from deployments.machine.instance import Instance
from deployments.machine.processes import MARKER
from deployments.ray_internals.forking.client import SOCKET
from deployments.ray_internals.loopback.worker import ADDRESS
from recsys.config.platform import REPLICA_PORTS, Ports

LATENCY_BUCKETS_MS = "0.5,1,2,3,5,7.5,10,15,20,30,50,75,100,150,200,300,500,1000,2000,5000"


@dataclass(frozen=True)
class Tuning:
    """Settings that may differ between machines."""

    haproxy_threads: int = 1
    """One thread serves over 10,000 requests/s. More take cores from the replicas."""
    control_loop_s: float = 0.5
    """Seconds between two loops of Serve's controller at rest. Ray's default 0.1 takes a tenth of a core; it is kept
    while something is deployed, see `ray_internals/control_loop.py`."""
    metrics_export_ms: int = 2000
    """Milliseconds between two exports of a replica's metrics. Ray's default 100 costs throughput."""
    draining_s: float = 5.0
    """Seconds for which a stopping replica still answers, so that HAProxy learns of it first."""


def ray_environment(instance: Instance, inherited: Mapping[str, str], tuning: Tuning | None = None) -> dict[str, str]:
    """Return `inherited` with the platform's variables, without the user's RAY_*, which may name another cluster."""
    tuning = tuning or Tuning()
    kept = {name: value for name, value in inherited.items() if not name.startswith("RAY_")}
    return {
        **kept,
        **_platform(instance, kept),
        **_ray(instance),
        **_serve(instance.ports, tuning),
        **_haproxy(instance, tuning),
        **(_in_cluster(instance) if instance.in_cluster else _alone()),
    }


def _alone() -> dict[str, str]:
    return {
        # It also works on Linux: with 0 the node's address stays 127.0.0.1, which Ray would replace by the network
        # address. So everything listens on loopback, together with the changes of ray_internals/loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }


def _in_cluster(instance: Instance) -> dict[str, str]:
    head = (instance.joined or instance.address).rpartition(":")[0]
    return {
        # What replicas listen on for the others, instead of every interface.
        ADDRESS: instance.address,
        "no_grpc_proxy": ",".join(filter(None, ("127.0.0.1", "localhost", instance.address, head))),
        # Seconds for which a raylet waits for a head that is away, and its replicas go on serving. Ray's default is 60.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "3600",
        # Ray's control store asks each machine whether it is there. One that ended is found out after four seconds, one
        # that says nothing after some twenty, so a network that is away for ten harms nothing. By default fifteen and
        # fifty.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "4000",
        "RAY_health_check_failure_threshold": "4",
        # A machine that is gone answers nothing: the next one is tried after a second instead of five, and its replicas
        # are left out after two checks that fail.
        "RAY_SERVE_HAPROXY_TIMEOUT_CONNECT_S": "1",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
        # Seconds for which HAProxy on a machine that is drained says that it is, and still answers.
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "10",
    }


def _platform(instance: Instance, inherited: Mapping[str, str]) -> dict[str, str]:
    root = str(Path(str(deployments.__file__)).parents[1])
    own = {
        # The mark of the platform's processes, by which `down` finds them.
        MARKER: instance.id,
        # Relative folders in the config file have one meaning, also in replicas, whose working folder is another.
        "RECSYS_HOME": str(Path(inherited.get("RECSYS_HOME", ".")).resolve()),
        # Replicas import deployments and recsys from here, installed or not.
        "PYTHONPATH": os.pathsep.join(filter(None, (root, inherited.get("PYTHONPATH")))),
        # Text is UTF-8 whatever the user's locale; Valkey refuses to start in a locale that is not installed.
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
        # One thread for each replica: replicas run in parallel, and more threads would compete for the cores.
        "OMP_NUM_THREADS": "1",
        # glibc gives threads heaps of their own, eight a core, and what is freed in one stays there for its threads.
        "MALLOC_ARENA_MAX": inherited.get("MALLOC_ARENA_MAX", "2"),
        # Models come from folders and packages. Serving looks nothing up on the network.
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # pyarrow's allocator would start a thread, and a fork server must have no threads.
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        # gRPC would connect to the platform's ports through the user's HTTP proxy.
        "no_grpc_proxy": "127.0.0.1,localhost",
    }
    if instance.redis_url:
        own["RECSYS_REDIS_URL"] = instance.redis_url
    return own


def _ray(instance: Instance) -> dict[str, str]:
    return {
        # Without a token, a replica's gRPC port unpickles what any local user sends it.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(instance.token_file),
        # By default Ray starts workers at nice 15, and any other program on the machine would starve them.
        "RAY_worker_niceness": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_START_HOOK": "deployments.ray_internals.loopback.start.keep_to_loopback",
        # Workers are forked, see deployments/ray_internals/forking.
        SOCKET: str(instance.fork_socket),
        # A composer's admin calls submit a scaled config here, and Ray's own commands use it.
        "RAY_DASHBOARD_ADDRESS": instance.dashboard_url,
        # The dashboard's own metrics. With a busy port it silently has none, so the port must be the platform's.
        "DASHBOARD_METRIC_PORT": str(instance.ports.dashboard_metrics),
        # Seconds between two looks at the memory of the dashboard's processes, for which the kernel goes through all of
        # their pages. Ray's default is 5.
        "METRICS_RECORD_INTERVAL_S": "60",
        # Ray would take times of everything that its event loops do, for a table in its log; each worker's loop turns a
        # hundred times a second, with nothing to do.
        "RAY_event_stats": "0",
        # Milliseconds between two looks of each node's agent at the machine and at all workers: as often as Prometheus
        # asks. Ray's default is 5,000.
        "REPORTER_UPDATE_INTERVAL_MS": "15000",
    }


def _serve(ports: Ports, tuning: Tuning) -> dict[str, str]:
    return {
        # One event loop for each replica, and gRPC between deployments: 2-3 times the throughput.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        # The option above would buffer a thousand log lines, which a killed replica loses. Replicas write few lines.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # Implied above, but the proxy's own flag is computed before that takes effect.
        "RAY_SERVE_USE_GRPC_BY_DEFAULT": "1",
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": str(tuning.control_loop_s),
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": str(tuning.metrics_export_ms),
        # With Ray's range two platforms would try each other's ports, and each busy port takes a replica another try.
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas + REPLICA_PORTS),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(tuning.draining_s),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "deployments.ray_internals.shortcut:middlewares",
        # Ray's buckets start at 1 ms and are coarse at the platform's latencies.
        "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": LATENCY_BUCKETS_MS,
    }


def _haproxy(instance: Instance, tuning: Tuning) -> dict[str, str]:
    # Short names: HAProxy and Ray add a 56-character node id and a suffix, and a socket's path has less than 108.
    folder = instance.haproxy_dir
    return {
        # HAProxy sends requests directly to the replicas, without Serve's Python proxy: 5-8 times the throughput.
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(instance.haproxy),
        "RAY_SERVE_HAPROXY_NBTHREAD": str(tuning.haproxy_threads),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(instance.ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(instance.ports.haproxy_metrics),
        # Ray's default is an hour, for which a silent client may hold one of 4,096 connections.
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
        # It would parse a log line for each request in Python, for metrics that the replicas count themselves.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        # A killed HAProxy is restarted after three failed checks: 3 s instead of 30.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # The Python proxy that answers while no replica is up.
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(instance.ports.fallback),
        # By default these files are in /tmp/haproxy-serve, which belongs to the user who created it first.
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "c"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "a"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "m"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "s"),
    }
