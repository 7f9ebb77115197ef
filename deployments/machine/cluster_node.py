"""One machine of a cluster: `recsys node up`, `down` and `drain`.

It sets what `recsys up` sets on a single machine, but for loopback: Ray's token, the environment, the ports, the fork
server, HAProxy's script. The head has Ray's control store and dashboard, and hands the config file to Serve; any other
machine joins it. What belongs to one machine alone lies in `nodes/ADDRESS` of `data_dir`, which all may share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deployments.machine import preflight
from deployments.machine.cluster_drain import drain_node
from deployments.machine.cluster_members import wait_for
from deployments.machine.cluster_redis import gcs_redis, refuse_if_local
from deployments.machine.cluster_token import cluster_token
from deployments.machine.cluster_watch import RAYLET, Watch, name_of
from deployments.machine.environment import ray_environment
from deployments.machine.first_steps import lay_out, started
from deployments.machine.instance import LOOPBACK, Instance, instance_id, read_instance, runtime_dir
from deployments.machine.processes import instance_processes, stop_instance
from deployments.machine.ray_head import start_fork_server, start_ray
from deployments.machine.redis_check import check_redis
from deployments.machine.rollout import OnPhase, rollout_of
from deployments.machine.runtime import Resources
from deployments.machine.serve_config import ServeConfig
from deployments.machine.tls import joined
from recsys.config.base import Settings
from recsys.errors import RuntimeFailure
from recsys.files import locked

_OTHERS_WITHIN_S = 600.0
"""Seconds for which the head waits for the other machines."""


class Place(Settings):
    """Where a machine stands in its cluster."""

    address: str
    """Its IP address, as the other machines reach it."""
    joins: str | None = None
    """`host:port` of the head's control store. None: this machine is the head."""
    machines: int = 1
    """How many machines the head waits for before it hands over the config file: replicas spread over those there."""
    token_file: Path | None = None
    """File with Ray's token, the same on every machine. None: `run/token` in `data_dir`, which the head makes."""


class ClusterNode:
    """A machine's part of the cluster of a config file."""

    def __init__(self, config: ServeConfig, address: str) -> None:
        self._config = config
        self._address = address
        self.home = config.platform.home() / "nodes" / address
        self._id = instance_id(self.home)

    def up(
        self,
        place: Place,
        on_phase: OnPhase = lambda _phase: None,
        *,
        resources: Resources | None = None,
        memory: Callable[[], int] = preflight.available_memory,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> Instance:
        """Start this machine, and return once it has joined; the head also hands the config file to Serve.

        After any failure nothing keeps running. What is left of a machine that died is ended first. Raises
        RuntimeFailure, or BadInput for the config file; each is one line that names the fix.
        """
        resources = resources or Resources(memory_needed=2 * preflight.GIB)
        with self._locked():
            on_phase("checks")
            self._end_leftovers(on_phase)
            instance = self.foreseen(place, resources=resources, memory=memory, warn=warn)
            return started(instance, lambda: self._start(instance, place, resources, on_phase), on_phase)

    def foreseen(
        self,
        place: Place,
        *,
        resources: Resources,
        memory: Callable[[], int] = preflight.available_memory,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> Instance:
        """What `up` would start, after all that it looks at before. Starts and writes nothing; errors: as of `up`."""
        self._refuse(place, warn)
        preflight.refuse_if_short_of_memory(memory(), resources.memory_needed)
        return self._instance(place)

    def running(self) -> Instance:
        """Return this machine's instance. Raises RuntimeFailure when it does not run."""
        instance = read_instance(self.home)
        if instance is None or not instance_processes(self._id):
            raise RuntimeFailure(f"no node runs at {self._address}; start it with: recsys node up")
        return instance

    def drain(self, on_phase: OnPhase = lambda _phase: None, *, within_s: float = 300.0) -> None:
        """Have this machine's replicas replaced by others elsewhere, and its HAProxy report that it goes.

        `within_s` and errors: see `cluster_drain.drain_node`.
        """
        instance = self.running()
        drain_node(instance, ray_environment(instance, os.environ), on_phase, within_s)

    def down(self, on_phase: OnPhase = lambda _phase: None, *, timeout_s: float = 30.0) -> int:
        """Stop this machine, and return the number of its processes. Raises RuntimeFailure when one remains."""
        with self._locked():
            on_phase("stopping")
            stopped = stop_instance(self._id, timeout_s)
            if (instance := read_instance(self.home)) is not None:
                instance.remove()
        return stopped

    def watch(self, on_phase: OnPhase = lambda _phase: None) -> str:
        """Return the name of the process that ended and without which this machine must be started again.

        The head's control store is started again by itself, and anything else goes on meanwhile.
        """
        return Watch(self.running(), on_phase).until_it_ends()

    def processes(self) -> int:
        """The number of this machine's processes that run."""
        return len(instance_processes(self._id))

    def _end_leftovers(self, on_phase: OnPhase) -> None:
        """End what is left of a machine whose raylet died. Raises RuntimeFailure when the raylet is alive."""
        left = instance_processes(self._id)
        if raylet := next((process for process in left if name_of(process) == RAYLET), None):
            raise RuntimeFailure(
                f"{self._address} has a node already ({len(left)} processes, such as pid {raylet.pid}): use it, or end "
                "it with `recsys node down`"
            )
        if left:
            on_phase("ending what is left of before")
            stop_instance(self._id)
        if (instance := read_instance(self.home)) is not None:
            instance.remove()

    def _refuse(self, place: Place, warn: Callable[[str], None]) -> None:
        config = self._config
        if preflight.is_loopback(place.address):
            raise RuntimeFailure(f"--address: {place.address} is of this machine alone; for one machine: recsys up")
        url = refuse_if_local(config.platform.external_redis())
        host, port = config.http_address
        if preflight.is_loopback(host):
            raise RuntimeFailure(
                f"http_options.host is {host}: the HAProxy of one machine must reach the composers of the others; set "
                "it to 0.0.0.0"
            )
        preflight.refuse_if_open(host, config.serving.security)
        preflight.refuse_if_traces_cannot_leave(config.serving.tracing)
        if tls := config.certificate:
            joined(*tls)
        ports = config.platform.ports
        used = {
            "metrics": ports.metrics,
            "haproxy_stats": ports.haproxy_stats,
            "haproxy_metrics": ports.haproxy_metrics,
        }
        if place.joins is None:
            used |= {"gcs": ports.gcs, "dashboard": ports.dashboard, "dashboard_metrics": ports.dashboard_metrics}
            used |= {"fallback": ports.fallback}
        named = {f"args.ports.{use}": number for use, number in used.items()}
        for where in (LOOPBACK, place.address):
            preflight.refuse_if_taken({"the API, http_options.port": port, **named}, where)
        for line in check_redis(url, config.platform.redis_prefix):
            warn(line)

    def _instance(self, place: Place) -> Instance:
        platform = self._config.platform
        head = place.address if place.joins is None else place.joins.rpartition(":")[0]
        return Instance(
            id=self._id,
            home=self.home,
            config_file=self._config.file.resolve(),
            api_url=self._config.api_url,
            certificate=tls[0] if (tls := self._config.certificate) else None,
            dashboard_url=f"http://{head}:{platform.ports.dashboard}",
            redis_url=platform.external_redis() or "",
            embedded_redis=False,
            runtime_dir=runtime_dir(self.home),
            redis_prefix=platform.redis_prefix,
            ports=platform.ports,
            logging_config=self._config.document.get("logging_config"),
            address=place.address,
            joined=place.joins,
        )

    def _start(self, instance: Instance, place: Place, resources: Resources, on_phase: OnPhase) -> None:
        token = cluster_token(self._config.platform.home(), place.token_file, make=place.joins is None)
        lay_out(instance, self._config, token.encode())
        env = ray_environment(instance, os.environ)
        redis = gcs_redis(instance.redis_url) if place.joins is None else None
        if redis is not None:
            env |= _control_store(redis.address, instance.redis_prefix)
        start_fork_server(instance, env)
        on_phase("Ray")
        start_ray(
            instance,
            env,
            num_cpus=resources.num_cpus,
            object_store_bytes=resources.object_store_bytes,
            more=() if redis is None else redis.options(),
        )
        if redis is None:
            return
        wait_for(instance, place.machines, on_phase, _OTHERS_WITHIN_S)
        on_phase("Serve")
        with rollout_of(instance) as rollout:
            if not rollout.applications():  # those of a head that starts again are in Redis, as they were scaled last
                rollout.submit(self._config.document)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Allow one `up` or `down` at a time on a machine."""
        busy = RuntimeFailure(f"another `recsys node` is at work in {self.home}: wait for it")
        with locked(self.home / "run" / "lock", busy):
            yield


def _control_store(address: str, prefix: str) -> Mapping[str, str]:
    """Variables of the head alone: where Ray's control store keeps its tables, and what their keys begin with."""
    return {"RAY_REDIS_ADDRESS": address, "RAY_external_storage_namespace": prefix}
