"""The drain of one machine of a cluster: its replicas are replaced elsewhere before they stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.machine.cluster_members import alive
from deployments.machine.instance import Instance
from deployments.machine.rollout import OnPhase, rollout_of
from recsys.errors import RuntimeFailure

_LOOK_S = 0.5
_STOPPING_S = 60.0
"""Seconds for replicas to end once they were told to, and for HAProxy to see that nobody is left."""
_COMMAND_S = 60.0
"""Seconds for Ray's command, which imports Ray."""


def drain_node(instance: Instance, env: Mapping[str, str], on_phase: OnPhase, within_s: float) -> None:
    """Drain the machine of an instance. Return when it has no replica, and its HAProxy has stopped taking part.

    `env`: of Ray's commands. `within_s`: seconds for which a replica waits for another in its place elsewhere; what has
    none by then, as no machine has room for it, is stopped without. Raises RuntimeFailure when something is left a
    minute after that, or when Ray refuses.
    """
    deadline = time.monotonic() + within_s + _STOPPING_S
    with rollout_of(instance) as rollout:
        _ask(instance, _node_id(instance), env, int(within_s))
        shown = ""
        while left := _left(rollout.details(), instance.address, head=instance.joined is None):
            if time.monotonic() > deadline:
                raise RuntimeFailure(f"{instance.address} still has {left}, a minute after it should have gone")
            if left != shown:
                on_phase(shown := left)
            time.sleep(_LOOK_S)
        if instance.joined is None:
            on_phase("HAProxy")
            _close_entrance(instance, _entrance(rollout.details(), instance.address), env)


def _close_entrance(instance: Instance, actor: str, env: Mapping[str, str]) -> None:
    """Have the head's HAProxy report that it goes, as Serve has the others', and wait for those who listen to it."""
    module = "deployments.ray_internals.head_entrance"
    _run([sys.executable, "-m", module, instance.control_store, actor], env, f"HAProxy of {instance.address} stays")
    time.sleep(float(env["RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S"]))


def _entrance(details: Mapping[str, Any], address: str) -> str:
    """The name of the actor that manages a machine's HAProxy."""
    return next(str(one["actor_name"]) for one in details["proxies"].values() if one["node_ip"] == address)


def _ask(instance: Instance, node_id: str, env: Mapping[str, str], within_s: int) -> None:
    """Have Ray mark the node: nothing new starts there, and Serve moves what runs there."""
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--address={instance.control_store}"),
        *(f"--node-id={node_id}", "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=recsys node drain"),
        f"--deadline-remaining-seconds={within_s}",
    ]
    _run(command, env, f"Ray does not drain {instance.address}")


def _run(command: Sequence[str], env: Mapping[str, str], failure: str) -> None:
    """Raises RuntimeFailure, `failure` with the command's last words, when it fails."""
    done = subprocess.run(  # noqa: S603 - every part is ours
        command, env=dict(env), capture_output=True, text=True, timeout=_COMMAND_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeFailure(f"{failure}: {' '.join(done.stderr.split())[-300:]}")


def _node_id(instance: Instance) -> str:
    """Return Ray's id of the machine. Raises RuntimeFailure when the cluster does not know it."""
    node_id = alive(instance).get(instance.address)
    if node_id is None:
        raise RuntimeFailure(f"the cluster knows no node at {instance.address}: start it with `recsys node up`")
    return node_id


def _left(details: Mapping[str, Any], address: str, *, head: bool) -> str:
    """What is still on the machine, in words; empty: nothing. Serve keeps the HAProxy of the head."""
    replicas = sorted(
        name
        for application in details["applications"].values()
        for name, deployment in application["deployments"].items()
        for replica in deployment["replicas"]
        if replica.get("node_ip") == address
    )
    if replicas:
        return ", ".join(replicas)
    proxies = (details.get("proxies") or {}).values()
    stays = head or not any(one.get("node_ip") == address and one["status"] != "DRAINED" for one in proxies)
    return "" if stays else "HAProxy"
