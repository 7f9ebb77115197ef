"""The Redis of a platform: an external one, or the embedded Valkey in its home."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deployments.machine.instance import Instance, read_instance
from deployments.machine.processes import instance_processes
from deployments.machine.redis_check import answers, check_redis
from deployments.machine.serve_config import ServeConfig
from deployments.machine.valkey import is_served, start_valkey
from recsys.errors import RuntimeFailure
from recsys.state.redis_url import redacted


def running_redis(home: Path, config: ServeConfig) -> str | None:
    """Return the URL of the platform's Redis. None: it is the embedded one, which does not run.

    Raises RuntimeFailure when it runs and cannot be reached from here, such as from another container.
    """
    if url := config.platform.external_redis():
        return url
    instance = read_instance(home)
    if instance is not None and answers(instance.redis_url):
        return instance.redis_url
    if instance is not None and instance_processes(instance.id):
        return instance.redis_url
    if instance is not None and not instance.embedded_redis:
        raise RuntimeFailure(
            f"the platform of {home} was started with the Redis at {redacted(instance.redis_url)}, which "
            "does not answer: start it, set redis_url, or run `recsys down` to forget it"
        )
    refuse_if_served_elsewhere(home)
    return None


def refuse_if_served_elsewhere(home: Path) -> None:
    """Raise RuntimeFailure when a Valkey that is not visible from here uses the home's folder."""
    folder = home / "valkey"
    if is_served(folder):
        raise RuntimeFailure(
            f"{folder} is written by a Valkey that cannot be reached from here, such as one of another container: "
            "run the command there, end it there, or let both use a Redis of your own (redis_url)"
        )


def check_external(config: ServeConfig, warn: Callable[[str], None]) -> None:
    """Check an external Redis before a platform starts. Raise RuntimeFailure when it cannot be used.

    `warn` is called with a line for each setting of it that should be changed.
    """
    url = config.platform.external_redis()
    if url is None:
        return
    # It imports half of recsys, and only `recsys up` needs it.
    from deployments.machine.prefix_conflict import refuse_if_another_platform  # noqa: PLC0415

    prefix = config.platform.redis_prefix
    for line in check_redis(url, prefix):
        warn(line)
    refuse_if_another_platform(url, prefix)


def start_embedded(instance: Instance, config: ServeConfig, env: Mapping[str, str]) -> None:
    """Start the embedded Valkey of an instance. Raises RuntimeFailure, see `valkey.start_valkey`."""
    start_valkey(
        instance.home / "valkey",
        instance.valkey_socket,
        instance.log_dir / "valkey.log",
        env=env,
        appendfsync=config.platform.appendfsync,
    )
