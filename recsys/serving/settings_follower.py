"""The settings of a replica: the last valid ones, whatever Serve hands it.

Serve ends a replica whose `reconfigure` raises, and hands the same settings to every replica of a deployment: one
typing mistake would end them all. So invalid settings are refused here, and the replica keeps the ones before. The last
valid settings are kept in Redis, for a replica that starts while invalid ones are in force.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.data.wording import first_fault
from recsys.errors import BadInput
from recsys.serving.background import Background
from recsys.serving.measures import BEAT_S
from recsys.state import redis_keys
from recsys.telemetry import SILENT, Telemetry

S = TypeVar("S", bound=BaseModel)

log = logging.getLogger(__name__)


class HeldSettings(Generic[S]):
    """`apply` takes settings over. It raises, and changes nothing, for settings that turn out wrong when it tries."""

    def __init__(
        self,
        model: type[S],
        deployment: str,
        redis: Redis,
        apply: Callable[[S], Awaitable[None]],
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._model = model
        self._deployment = deployment
        self._redis = redis
        self._apply = apply
        self._telemetry = telemetry
        self._holds = False
        self._refusing = False
        self._background = Background(telemetry)

    async def stop(self) -> None:
        await self._background.stop()

    async def take(self, given: Mapping[str, Any]) -> None:
        """Take over a `user_config`, or keep the settings of before and log why.

        Raises BadInput when there are none of before: a deployment's first settings must be valid.
        """
        try:
            await self._apply(parsed(self._model, given, f"{self._deployment}.user_config"))
        except Exception as error:  # whatever it is, every replica of the deployment is handed it
            if not isinstance(error, BadInput):
                log.exception("%s: settings could not be taken over", self._deployment)
            await self._refused(str(error) or repr(error))
        else:
            self._holds = True
            self._tell(refusing=False)
            await self._write_note({"settings": given, "refused": None})

    async def _refused(self, reason: str) -> None:
        note = await self._read_note()
        if not self._holds:
            before = note.get("settings")
            if before is None:
                raise BadInput(reason)
            await self._apply(parsed(self._model, before, f"{self._deployment}.user_config of before"))
            self._holds = True
        log.error("%s; the settings of before stay in force", reason)
        self._tell(refusing=True)
        await self._write_note({**note, "refused": reason})

    def _tell(self, *, refusing: bool) -> None:
        """Set the gauge now, and every second from then on: Ray forgets a gauge that is not set again."""
        self._refusing = refusing
        self._say()
        if not self._background.running:
            self._background.start("settings", self._say, BEAT_S)

    def _say(self) -> None:
        self._telemetry.set("recsys_settings_refused", float(self._refusing))

    async def _read_note(self) -> dict[str, Any]:
        try:
            note: Any = await self._redis.hget(redis_keys.SETTINGS, self._deployment)
        except (RedisError, OSError):
            return {}
        return dict(orjson.loads(note)) if note else {}

    async def _write_note(self, note: Mapping[str, Any]) -> None:
        try:
            await self._redis.hset(redis_keys.SETTINGS, self._deployment, orjson.dumps(note).decode())
        except (RedisError, OSError) as error:
            log.warning("the settings of %s could not be noted in Redis: %s", self._deployment, error)


async def refusals(redis: Redis) -> dict[str, str]:
    """Deployment -> why the settings that it was handed last are not in force; empty where all are."""
    notes: Any = await redis.hgetall(redis_keys.SETTINGS)
    reasons = {name.decode(): orjson.loads(note).get("refused") for name, note in notes.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def parsed(model: type[S], value: Any, where: str) -> S:
    """The settings in a mapping. Raises BadInput, which names `where` and the first wrong field."""
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        raise first_fault(error, model, inside=(where,), whole=where) from None
