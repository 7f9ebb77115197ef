"""The life cycle of a platform on one machine: `up`, `down`, `status`.

Only the Ray cluster and the Redis that it has started are touched: addresses and ports are explicit, and processes are
found by their mark.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from pydantic import Field

from deployments.machine import preflight
from deployments.machine.environment import Tuning, ray_environment
from deployments.machine.first_deploy import deploy_first
from deployments.machine.first_steps import clear, lay_out, started
from deployments.machine.instance import Instance, instance_id, read_instance, runtime_dir
from deployments.machine.listening_sockets import refuse_if_exposed
from deployments.machine.passed_config import note_passed
from deployments.machine.platform_redis import (
    check_external,
    refuse_if_served_elsewhere,
    running_redis,
    start_embedded,
)
from deployments.machine.processes import instance_processes, stop_instance
from deployments.machine.ray_head import start_fork_server, start_ray
from deployments.machine.rollout import OnPhase, rollout_of
from deployments.machine.serve_config import ServeConfig
from deployments.machine.tls import joined
from deployments.machine.valkey import valkey_url
from recsys.config.base import Settings
from recsys.config.platform import Ports
from recsys.errors import RuntimeFailure
from recsys.files import locked


class Resources(Settings):
    """The platform's share of the machine."""

    num_cpus: int | None = None
    """Cores that Ray assigns. None: all."""
    object_store_bytes: int = 256 << 20
    """Shared memory for Ray's objects. Batch jobs use it; serving hardly does."""
    memory_needed: int = 4 * preflight.GIB
    """Bytes that must be available at the start."""


class Status(Settings):
    """The state of a platform."""

    running: bool
    """Whether any process of the platform is alive."""
    instance: Instance | None = None
    processes: int = 0
    applications: Mapping[str, str] = Field(default_factory=dict)
    """Serve's status of each application. Empty: the dashboard does not answer."""


class Runtime:
    """The platform of one home, see `Platform.home()`. `ports` None: those of the config file."""

    def __init__(self, home: Path, ports: Ports | None = None, resources: Resources | None = None) -> None:
        self._home = home.resolve()
        self._id = instance_id(self._home)
        self._ports = ports
        self._resources = resources or Resources()

    @classmethod
    def of(cls, config: ServeConfig) -> Self:
        return cls(config.platform.home())

    def up(
        self,
        config: ServeConfig,
        on_phase: OnPhase = lambda _phase: None,
        *,
        timeout_s: float = 300.0,
        memory: Callable[[], int] = preflight.available_memory,
        tuning: Tuning | None = None,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> Instance:
        """Start the platform of the config file, and return once it serves. After any failure nothing keeps running.

        `timeout_s`: seconds for the applications, once Ray is up. `memory`: returns the bytes available on this
        machine. `warn`: called with a line for each setting that should be changed. Raises RuntimeFailure, or BadInput
        for the config file; each is one line that names the fix.
        """
        on_phase("checks")
        with self._locked():
            self._refuse(config, memory, warn)
            instance = self._instance(config)
            instance = started(instance, lambda: self._start(instance, config, on_phase, timeout_s, tuning), on_phase)
            note_passed(config.document, self._home)
        return instance

    def foreseen(
        self,
        config: ServeConfig,
        *,
        memory: Callable[[], int] = preflight.available_memory,
        warn: Callable[[str], None] = lambda _line: None,
    ) -> Instance:
        """What `up` would start, after all that it looks at before. Starts and writes nothing; errors: as of `up`."""
        self._refuse(config, memory, warn)
        return self._instance(config)

    def running(self) -> Instance:
        """Return the running instance. Raises RuntimeFailure when the platform does not run."""
        instance = read_instance(self._home)
        if instance is None or not instance_processes(self._id):
            raise RuntimeFailure("the platform is not up; start it with: recsys up")
        return instance

    def down(self, on_phase: OnPhase = lambda _phase: None, *, timeout_s: float = 30.0) -> int:
        """Stop the platform, complete or not, and return the number of its processes. Raises RuntimeFailure when one
        remains.
        """
        with self._locked():
            on_phase("stopping")
            stopped = stop_instance(self._id, timeout_s)
            if not stopped:
                refuse_if_served_elsewhere(self._home)
            instance = read_instance(self._home)
            if instance is not None:
                instance.remove()
        return stopped

    def status(self) -> Status:
        processes = instance_processes(self._id)
        instance = read_instance(self._home)
        if not processes or instance is None:
            return Status(running=bool(processes), processes=len(processes))
        return Status(
            running=True, instance=instance, processes=len(processes), applications=_application_states(instance)
        )

    def running_redis(self, config: ServeConfig) -> str | None:
        """See `platform_redis.running_redis`."""
        return running_redis(self._home, config)

    @contextmanager
    def redis(self, config: ServeConfig) -> Iterator[str]:
        """Yield the URL of the platform's Redis. The embedded one is started for the block if it does not run."""
        if url := self.running_redis(config):
            yield url
            return
        with self._locked():
            refuse_if_served_elsewhere(self._home)  # check again, now with the lock
            instance = self._instance(config)
            instance.prepare()
            try:
                start_embedded(instance, config, ray_environment(instance, os.environ))
                yield instance.redis_url
            finally:
                clear(instance)

    @contextmanager
    def redis_if_used(self, config: ServeConfig) -> Iterator[str | None]:
        """As `redis`, but yield None, and start no server, when nothing was ever written."""
        if not (self._home / "valkey").exists() and self.running_redis(config) is None:
            yield None
            return
        with self.redis(config) as url:
            yield url

    def _refuse(self, config: ServeConfig, memory: Callable[[], int], warn: Callable[[str], None]) -> None:
        if alive := instance_processes(self._id):
            raise RuntimeFailure(
                f"{self._home} has a platform already ({len(alive)} processes, such as pid {alive[0].pid}): "
                "use it, or end it with `recsys down`"
            )
        if config.platform.external_redis() is None:
            refuse_if_served_elsewhere(self._home)
        host, port = config.http_address
        preflight.refuse_if_open(host, config.serving.security)
        preflight.refuse_if_traces_cannot_leave(config.serving.tracing)
        if tls := config.certificate:
            joined(*tls)
        # Serve skips busy ports in the range for replicas. Some are busy for a minute after a platform has ended.
        ports = (self._ports or config.platform.ports).model_dump(exclude={"replicas"})
        api = {"the API, http_options.port": port}
        preflight.refuse_if_taken({**api, **{f"args.ports.{use}": number for use, number in ports.items()}})
        preflight.refuse_if_taken(api, host)
        check_external(config, warn)
        preflight.refuse_if_short_of_memory(memory(), self._resources.memory_needed)

    def _instance(self, config: ServeConfig) -> Instance:
        folder = runtime_dir(self._home)
        ports = self._ports or config.platform.ports
        url = config.platform.external_redis()
        instance = Instance(
            id=self._id,
            home=self._home,
            config_file=config.file.resolve(),
            api_url=config.api_url,
            certificate=tls[0] if (tls := config.certificate) else None,
            dashboard_url=f"http://127.0.0.1:{ports.dashboard}",
            redis_url=url or "",
            embedded_redis=url is None,
            runtime_dir=folder,
            redis_prefix=config.platform.redis_prefix,
            ports=ports,
            logging_config=config.document.get("logging_config"),
        )
        return instance if url else instance.model_copy(update={"redis_url": valkey_url(instance.valkey_socket)})

    def _start(
        self, instance: Instance, config: ServeConfig, on_phase: OnPhase, timeout_s: float, tuning: Tuning | None
    ) -> None:
        lay_out(instance, config, os.urandom(32).hex().encode())
        env = ray_environment(instance, os.environ, tuning)
        start_fork_server(instance, env)
        if instance.embedded_redis:
            on_phase("Valkey")
            start_embedded(instance, config, env)
        on_phase("Ray")
        start_ray(
            instance, env, num_cpus=self._resources.num_cpus, object_store_bytes=self._resources.object_store_bytes
        )
        on_phase("Serve")
        deploy_first(instance, env, config.document)
        with rollout_of(instance) as rollout:
            rollout.wait(instance.api_url, on_phase, timeout_s, instance.certificate)
        host, port = config.http_address
        refuse_if_exposed(self._id, None if preflight.is_loopback(host) else port)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Allow one `up` or `down` at a time in a home."""
        busy = RuntimeFailure(f"another `recsys up` or `down` is at work in {self._home}: wait for it")
        with locked(self._home / "run" / "lock", busy):
            yield


def _application_states(instance: Instance) -> dict[str, str]:
    try:
        with rollout_of(instance) as rollout:
            return {name: str(application["status"]) for name, application in rollout.applications().items()}
    except (RuntimeFailure, OSError):
        return {}
