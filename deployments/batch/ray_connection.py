"""The job's side of the connection to Ray."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from deployments.batch.job_process import Cluster
from recsys.errors import RuntimeFailure

_OBJECT_STORE_BYTES = 256 << 20
"""What is on its way to the workers; what does not fit goes to the disk."""
_KNOCK_S = 5.0


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Until the block ends. RuntimeFailure when the cluster cannot be reached."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if cluster.address is not None:
            host, _, port = cluster.address.rpartition(":")
            with socket.create_connection((host, int(port)), _KNOCK_S):  # Ray itself would try for minutes
                pass
            ray.init(cluster.address, **quiet)
        else:
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
    """How many cores a job may take: those that are free, or fewer. RuntimeFailure when there are not as many."""
    free = int(ray.available_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    if not 1 <= (wanted or free) <= free:
        raise RuntimeFailure(
            f"--workers: {wanted or 1} asked for, and Ray has {free} cores free; ask for fewer or wait"
        )
    return wanted or free
