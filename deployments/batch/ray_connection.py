"""The connection of a batch job to Ray."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import ray

from deployments.batch.job_process import Cluster
from deployments.ray_internals.lone_node import without_watchers
from recsys.errors import RuntimeFailure

_OBJECT_STORE_BYTES = 256 << 20
"""Memory for chunks on their way to the workers. Ray spills the rest to disk."""
_KNOCK_S = 5.0
"""Timeout for a first connection. Ray itself would try for minutes."""


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect to the cluster for the block. Raises RuntimeFailure when it cannot be reached."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if cluster.address is not None:
            host, _, port = cluster.address.rpartition(":")
            with socket.create_connection((host, int(port)), _KNOCK_S):
                pass
            ray.init(cluster.address, _node_ip_address=cluster.node, **quiet)
        else:
            without_watchers()
            ray.init(
                "local", num_cpus=cluster.cpus, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1", _temp_dir=str(cluster.folder), **quiet,
            )  # fmt: skip
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        name = "Ray" if cluster.address is None else f"--address: the Ray at {cluster.address}"
        raise RuntimeFailure(f"{name} cannot be reached: {' '.join(str(error).split())[:300]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def workers_of(wanted: int | None) -> int:
    """Return the number of workers, one for each free core by default. Raises RuntimeFailure when fewer are free."""
    free = int(ray.available_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    if not 1 <= (wanted or free) <= free:
        raise RuntimeFailure(
            f"--workers: {wanted or 1} asked for, and Ray has {free} cores free; ask for fewer or wait"
        )
    return wanted or free


def say(step: msgspec.Struct) -> None:
    """Tell the process that waits for this job, by a line of JSON on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(step) + b"\n")
    sys.stdout.buffer.flush()
