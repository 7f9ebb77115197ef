"""The settings that a replica goes by: the last ones that were right, whatever it is handed.

Serve ends a replica whose `reconfigure` raises, and every replica of a deployment is handed the same settings: one
typing mistake would end them all. So what is wrong is refused here, and the replica goes on as before. What was right
last is kept in Redis, for a replica that starts while wrong settings are in force.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.errors import BadInput
from recsys.serving.background import Background
from recsys.serving.measures import BEAT_S
from recsys.state import redis_keys
from recsys.telemetry import SILENT, Telemetry

S = TypeVar("S", bound=BaseModel)

log = logging.getLogger(__name__)


class HeldSettings(Generic[S]):
    """`apply` takes settings over. It raises, and changes nothing, for what only shows when it is tried."""

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
        """Take over a `user_config`, or keep the settings of before and say why.

        Raises BadInput where there are none of before: a deployment's first settings must be right.
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
            await self._note({"settings": given, "refused": None})

    async def _refused(self, reason: str) -> None:
        known = await self._known()
        if not self._holds:
            before = known.get("settings")
            if before is None:
                raise BadInput(reason)
            await self._apply(parsed(self._model, before, f"{self._deployment}.user_config of before"))
            self._holds = True
        log.error("%s; the settings of before stay in force", reason)
        self._tell(refusing=True)
        await self._note({**known, "refused": reason})

    def _tell(self, *, refusing: bool) -> None:
        """Now and from then on every second: Ray forgets a gauge that is not set again."""
        self._refusing = refusing
        self._say()
        if not self._background.running:
            self._background.start("settings", self._say, BEAT_S)

    def _say(self) -> None:
        self._telemetry.set("recsys_settings_refused", float(self._refusing))

    async def _known(self) -> dict[str, Any]:
        try:
            noted: Any = await self._redis.hget(redis_keys.SETTINGS, self._deployment)
        except (RedisError, OSError):
            return {}
        return dict(orjson.loads(noted)) if noted else {}

    async def _note(self, note: Mapping[str, Any]) -> None:
        try:
            await self._redis.hset(redis_keys.SETTINGS, self._deployment, orjson.dumps(note).decode())
        except (RedisError, OSError) as error:
            log.warning("the settings of %s could not be noted in Redis: %s", self._deployment, error)


async def refusals(redis: Redis) -> dict[str, str]:
    """Deployment -> why the settings that it was handed last are not in force; empty where all are."""
    noted: Any = await redis.hgetall(redis_keys.SETTINGS)
    found = {name.decode(): orjson.loads(note).get("refused") for name, note in noted.items()}
    return {name: reason for name, reason in found.items() if reason}


def parsed(model: type[S], value: Any, where: str) -> S:
    """The settings in a mapping. BadInput names the first field that is wrong, by `where` too, and how many more."""
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        place = f"{where}.{field}" if field else where
        raise BadInput(f"{place}: {message}{more}", field=place) from None
