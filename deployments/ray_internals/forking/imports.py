"""What the fork server imports, and that nothing of it is what a fork must have of its own."""

from __future__ import annotations

import gc
import importlib
import os
from types import SimpleNamespace

from deployments.ray_internals.control_loop import hasten
from deployments.ray_internals.haproxy_looks import look_often
from deployments.ray_internals.loopback.worker import bind_to_address

OURS = (
    "recsys.serving.gateway",
    "recsys.serving.shard_replica",
    "recsys.access.gate",
    "recsys.serving.encoder_replica",
    "fastapi",
    "pandas",
    "tokenizers",
)
"""Modules without Ray, which are imported while Ray starts. None that starts a thread, as onnxruntime does."""
RAYS = (
    "ray._private.workers.default_worker",
    "ray.serve._private.replica",
    "ray.serve._private.controller",
    "ray.serve._private.haproxy",
    "deployments.composer",
    "deployments.shard",
    "deployments.encoder",
)
"""Those that import Ray, which keeps for good who the raylet is by then: they wait for the first worker."""
RAYLET, JOB = "RAY_RAYLET_PID", "RAY_JOB_ID"
_NO_JOB = "ffffffff"
"""A worker that starts without a job takes that of its first task."""


def import_ours() -> None:
    for module in OURS:
        importlib.import_module(module)


def import_rays(raylet: str) -> None:
    """RuntimeError if forks would give the same ids to different things."""
    os.environ |= {RAYLET: raylet, JOB: _NO_JOB}
    bind_to_address()
    import ray.actor  # noqa: PLC0415 - not before the variables are set
    from ray._raylet import ActorClassID  # noqa: PLC0415

    # Two modules of Ray's make an actor class, and its id seeds Ray's generator: once, for all forks alike.
    unseeded = SimpleNamespace(from_random=lambda: ActorClassID(os.urandom(ActorClassID.size())))
    ray.actor.ActorClassID = unseeded  # type: ignore[assignment,attr-defined]
    for module in RAYS:
        importlib.import_module(module)
    ray.actor.ActorClassID = ActorClassID  # type: ignore[attr-defined]
    hasten()
    look_often()
    if _drawn_in_a_fork() == _drawn_in_a_fork():
        raise RuntimeError("forks would draw the same ids: workers start by themselves")
    gc.collect()
    gc.freeze()  # the collector would write to memory that the forks share


def _drawn_in_a_fork() -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        from ray import WorkerID  # noqa: PLC0415 - likewise

        os.write(writing, WorkerID.from_random().binary())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        return pipe.read()
