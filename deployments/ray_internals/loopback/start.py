"""Runs inside `ray start`, which calls what the environment variable RAY_START_HOOK names."""

from __future__ import annotations

from pathlib import Path

from ray._private.parameter import RayParams

from deployments.ray_internals.side_by_side import start_side_by_side


def keep_to_loopback(params: RayParams, _head: object) -> None:
    """Drops the Ray Client server, and makes workers start through worker.py beside this file and forking's."""
    # `ray start` opens it on port 10001 (shared with any other cluster's, by SO_REUSEPORT) and has no flag to leave it.
    params.ray_client_server_port = None
    params.worker_path = str(Path(__file__).with_name("worker.py"))
    start_side_by_side()
    params.setup_worker_path = str(Path(__file__).parents[1] / "forking" / "setup_worker.py")
