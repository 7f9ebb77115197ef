"""The watch over one machine of a cluster: what ends there is started again, or reported."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil

from deployments.machine.cluster_redis import gcs_redis
from deployments.machine.instance import Instance
from deployments.machine.processes import instance_processes
from deployments.machine.redis_check import answers
from deployments.machine.rollout import OnPhase
from deployments.ray_internals.control_store import NAME, StartOfControlStore
from recsys.errors import RuntimeFailure

RAYLET = "raylet"
_LOOK_S = 0.5
_AGAIN_WITHIN_S = 120.0
"""Seconds for a control store to stay up again; a failover of its Redis takes some ten."""
_SETTLED_S = 3.0
"""Seconds after which a control store that was started again counts as up. With a Redis that is away it ends sooner."""


class Watch:
    """Looks at the raylet and, on the head, at the control store."""

    def __init__(self, instance: Instance, on_phase: OnPhase) -> None:
        self._instance = instance
        self._on_phase = on_phase
        named = {name_of(process): process for process in instance_processes(instance.id)}
        self._raylet = named.get(RAYLET)
        self._store = named.get(NAME)
        self._start = None if self._store is None else StartOfControlStore.of(self._store)

    def until_it_ends(self) -> str:
        """Return the name of the process that ended for good."""
        while self._raylet is not None and runs(self._raylet):
            if self._store is not None and not runs(self._store) and not self._again():
                return NAME
            time.sleep(_LOOK_S)
        return RAYLET

    def _again(self) -> bool:
        """Start the control store, with the Redis of now. Return whether it stays up; False where the raylet ends."""
        deadline = time.monotonic() + _AGAIN_WITHIN_S
        self._on_phase("the control store has ended: starting it again")
        while time.monotonic() < deadline and self._raylet is not None and runs(self._raylet):
            url = self._instance.redis_url
            with suppress(RuntimeFailure):  # the Sentinels name no primary yet
                # It would try a Redis that is away for a minute, and one that answers may be elsewhere by then.
                if answers(url) and self._stays(gcs_redis(url).address):
                    return True
            time.sleep(_LOOK_S)
        return False

    def _stays(self, redis_address: str) -> bool:
        assert self._start is not None
        self._store = self._start.again(redis_address)
        settled = time.monotonic() + _SETTLED_S
        while time.monotonic() < settled:
            if not runs(self._store):
                return False
            time.sleep(_LOOK_S)
        return True


def name_of(process: psutil.Process) -> str:
    """The program's name; empty: it has ended."""
    with suppress(psutil.Error):
        return process.name()
    return ""


def runs(process: psutil.Process) -> bool:
    """Whether it is alive. One that is a child of ours is reaped."""
    with suppress(psutil.Error):
        with suppress(psutil.TimeoutExpired):
            process.wait(0)
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
