"""The update of a running platform from a changed config file."""

from __future__ import annotations

from typing import Any

from deployments.machine.config_change import turn
from deployments.machine.config_diff import START, Change, changes
from deployments.machine.instance import Instance
from deployments.machine.live_scaling import running_config
from deployments.machine.rollout import OnPhase, Rollout, rollout_of
from deployments.machine.serve_config import ServeConfig
from deployments.machine.shard_move import ShardMove, with_shards_of_both
from recsys.config.platform import Platform
from recsys.errors import BadInput
from recsys.state.redis_url import redacted
from recsys.versions.manifest import Manifest


def planned(instance: Instance, config: ServeConfig) -> list[Change]:
    """Return what `apply` would change."""
    with rollout_of(instance) as rollout:
        return _changes(instance, _running(instance, rollout), config)


def apply(
    instance: Instance,
    config: ServeConfig,
    move: ShardMove,
    version: Manifest | None = None,
    on_phase: OnPhase = lambda _phase: None,
    *,
    timeout_s: float = 300.0,
) -> None:
    """Submit the config, and return when the platform goes by it.

    `version`: for the file's shards, where they differ from those that are served; None: they do not. Raises BadInput,
    before anything is changed, for a setting that takes a restart. Raises RuntimeFailure when Serve refuses the config,
    or does not run it after `timeout_s` seconds, and what `ShardMove` raises.
    """
    moving = version is not None or bool(move.begun())
    _submit(instance, config, on_phase, timeout_s, keep_shards=moving)
    if version is not None:
        on_phase(f"version {version.version}")
        move.switch(version)
    if moving:
        on_phase("end of the shards of before")
        move.end()
        _submit(instance, config, on_phase, timeout_s, keep_shards=False)
        move.until_gone()
    instance.model_copy(update={"logging_config": config.document.get("logging_config")}).write()


def _submit(instance: Instance, config: ServeConfig, on_phase: OnPhase, timeout_s: float, *, keep_shards: bool) -> None:
    """`keep_shards`: whether shards that run and that the file does not name go on."""
    with turn(instance.home), rollout_of(instance) as rollout:
        running = _running(instance, rollout)
        refuse_starts(_changes(instance, running, config))
        document = with_shards_of_both(running, config.document) if keep_shards else config.document
        document = with_args_of(running, document)
        rollout.submit(document)
        rollout.take_over(document, on_phase, timeout_s)


def refuse_starts(changed: list[Change]) -> None:
    """Raise BadInput when one of the changes takes a restart."""
    if starts := [change for change in changed if change.how == START]:
        steps = ["recsys down", *dict.fromkeys(change.also for change in starts if change.also), "recsys up"]
        names = ", ".join(change.setting for change in starts)
        raise BadInput(f"{names}: takes a start ({', '.join(steps)}); nothing was changed", field=starts[0].setting)


def _running(instance: Instance, rollout: Rollout) -> dict[str, Any]:
    """Return the config that the platform runs: what Serve reports, with the logging config, which it does not."""
    running = running_config(rollout.details())
    return running if instance.logging_config is None else {**running, "logging_config": instance.logging_config}


def _changes(instance: Instance, running: dict[str, Any], config: ServeConfig) -> list[Change]:
    differences = changes(running, config.document)
    certificate, redis = config.certificate, config.platform.external_redis()
    # `for_serve` removes these from what Serve is given.
    if instance.certificate != (new := certificate[0] if certificate else None):
        differences.append(Change("http_options.ssl_certfile", _text(instance.certificate), _text(new), START))
    if redis != (old := None if instance.embedded_redis else instance.redis_url):
        differences = [change for change in differences if change.setting != "args.redis_url"]
        differences.append(Change("args.redis_url", old and redacted(old), redis and redacted(redis), START))
    return differences


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def with_args_of(running: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with the running `args`, but for its own shards and routing.

    Serve compares their text, and would build the application anew for a default that is now written in the file.
    """
    [current, *_], [new, *others] = running["applications"], document["applications"]
    application = {name: value for name, value in new.items() if name != "args"}
    before, wanted = (Platform.model_validate(one.get("args") or {}) for one in (current, new))
    args = dict(current.get("args") or {})
    if (wanted.shards, wanted.routing) != (before.shards, before.routing):
        args |= {"shards": wanted.shards, "routing": wanted.routing.model_dump(mode="json")}
    if args or "args" in current:
        application["args"] = args
    return {**document, "applications": [application, *others]}
