"""What the starts of a platform on one machine and of one machine of a cluster have in common."""

from __future__ import annotations

from collections.abc import Callable

from deployments.machine.instance import Instance
from deployments.machine.processes import instance_processes, stop_instance
from deployments.machine.rollout import OnPhase
from deployments.machine.serve_config import ServeConfig
from deployments.machine.tls import joined
from deployments.ray_internals.loopback.haproxy import haproxy_script
from recsys.files import replace


def started(instance: Instance, start: Callable[[], None], on_phase: OnPhase) -> Instance:
    """Call `start`, and return the instance with the ids of its processes, as its state file has it from then on. After
    any failure, Ctrl-C too, nothing keeps running.
    """
    try:
        start()
    except BaseException:
        on_phase("stopping what was started")
        clear(instance)
        raise
    instance = instance.model_copy(update={"pids": tuple(p.pid for p in instance_processes(instance.id))})
    instance.write()
    return instance


def clear(instance: Instance) -> None:
    """End the processes of an instance, and delete its files."""
    stop_instance(instance.id)
    instance.remove()


def lay_out(instance: Instance, config: ServeConfig, token: bytes) -> None:
    """Make the folders of an instance, and the files that its processes read: Ray's token, the API's certificate and
    key, and HAProxy's script. Raises RuntimeFailure.
    """
    instance.prepare()
    instance.write()  # from here on, `down` can remove everything
    replace(instance.token_file, token, mode=0o600)
    if tls := config.certificate:
        replace(instance.tls_file, joined(*tls).encode(), mode=0o600)
    script = haproxy_script(
        instance.ports, config.http_address[1], instance.tls_file if tls else None, in_cluster=instance.in_cluster
    )
    replace(instance.haproxy, script.encode(), mode=0o700)
