"""The scenarios in force: those of the config file with the edits in Redis on top, which change while it serves.

An edit is checked before it is stored, and again by every composer that takes it over. One that a composer cannot take,
because its config file declares other attributes, say, changes nothing there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.platform import Platform
from recsys.config.scenarios import Scenario
from recsys.config.serving import Serving
from recsys.data.merge_patch import merged
from recsys.data.wording import refusal
from recsys.errors import BadInput, Conflict, NotFound, Unavailable
from recsys.ranking.scenarios import check
from recsys.state.scenario_log import ScenarioEdit, ScenarioLog

LOOK_S = 1.0
"""Seconds between two looks at whether there is a new edit."""
_TRIES = 5
_NONE = ScenarioEdit(0, "", 0.0, (), {})
_AWAY = "the scenarios could not be written; nothing was changed: try again"

Changes = Mapping[str, Mapping[str, Any] | None]
"""Scenario -> JSON Merge Patch (RFC 7396) of its settings; None: as the config file has it, or gone."""

log = logging.getLogger(__name__)


class LiveScenarios:
    """`apply` takes settings over."""

    def __init__(self, redis: Redis, platform: Platform, apply: Callable[[Serving], None]) -> None:
        self._log = ScenarioLog(redis)
        self._platform = platform
        self._apply = apply
        self._file = Serving()
        """The settings of the config file."""
        self.edit = _NONE
        """The edit in force."""
        self.refused: str | None = None
        """Why the newest edit is not in force here."""

    def configure(self, settings: Serving) -> None:
        """Take over the config file's settings, with the edit in force on top, where it still fits."""
        self._file = settings
        try:
            edited = self.settings_with(self.edit.scenarios) if self.edit.scenarios else settings
            self.refused = None
        except BadInput as error:
            log.error("edit %d of the scenarios is not in force: %s", self.edit.version, error)  # noqa: TRY400
            self.refused, edited = str(error), settings
        self._apply(edited)

    async def look(self) -> None:
        """Take over the newest edit. Raises RedisError and OSError."""
        version = await self._log.version()
        if version == self.edit.version:
            return
        edit = _NONE if version == 0 else await self._log.read(version)
        if edit is None:
            return  # a newer one has come meanwhile
        try:
            edited = self.settings_with(edit.scenarios)
        except BadInput as error:
            if self.refused != str(error):
                log.error("edit %d of the scenarios is not in force: %s", version, error)  # noqa: TRY400
            self.refused = str(error)
            return
        self.edit, self.refused = edit, None
        self._apply(edited)

    def settings_with(self, scenarios: Mapping[str, Mapping[str, Any]]) -> Serving:
        """The config file's settings with these scenarios on top. Raises BadInput with the field."""
        parsed = dict(self._file.scenarios)
        for name, given in scenarios.items():
            try:
                parsed[name] = Scenario.model_validate(given)
            except ValidationError as error:
                raise refusal(error, Scenario, inside=("scenarios", name)) from None
        try:
            settings = Serving.model_validate({**dict(self._file), "scenarios": parsed})
        except ValidationError as error:
            raise refusal(error, Serving) from None
        check(settings, self._platform)
        return settings

    def changed(self, changes: Changes) -> dict[str, dict[str, Any]]:
        """What edits say of scenarios, after these changes."""
        scenarios = dict(self.edit.scenarios)
        for name, patch in changes.items():
            if patch is None:
                scenarios.pop(name, None)
                continue
            scenarios[name] = merged(self._as_json(name), patch)
        return scenarios

    def _as_json(self, name: str) -> dict[str, Any]:
        """Settings of a scenario, of the edit in force or else of the config file; empty for one that is in neither."""
        edited = self.edit.scenarios.get(name)
        if edited is None and name in self._file.scenarios:
            edited = self._file.scenarios[name].model_dump(mode="json")
        return edited or {}

    async def change(
        self, changes: Changes, author: str, comment: str = "", version: int | None = None
    ) -> ScenarioEdit:
        """Store and take over an edit. `version`: the edit that the caller has seen as the newest; None: any.

        Raises BadInput with the field, Conflict when another edit came meanwhile, and Unavailable.
        """
        return await self._change(lambda: self.changed(changes), tuple(changes), author, comment, version)

    async def rewrite(
        self, name: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]], author: str, comment: str
    ) -> ScenarioEdit:
        """Store and take over what `change` makes of one scenario, as JSON. Raises as the method `change`."""

        def edited() -> dict[str, dict[str, Any]]:
            return {**self.edit.scenarios, name: dict(change(self._as_json(name)))}

        return await self._change(edited, (name,), author, comment, None)

    def check_rewritten(self, name: str, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
        """Raise what `rewrite` would raise for these settings."""
        self.settings_with({**self.edit.scenarios, name: dict(change(self._as_json(name)))})

    async def _change(
        self,
        edited: Callable[[], dict[str, dict[str, Any]]],
        names: tuple[str, ...],
        author: str,
        comment: str,
        version: int | None,
    ) -> ScenarioEdit:
        for _ in range(_TRIES):
            edit = await self._present()
            if version is not None and version != edit.version:
                raise Conflict(f"version: {edit.version} is in force, and not {version}; look again", field="version")
            scenarios = edited()
            self.settings_with(scenarios)
            if (stored := await self._store(edit.version + 1, author, names, scenarios, comment)) is not None:
                return stored
        raise Conflict("other edits came at the same moment; try again", field="version")

    async def undo(self, author: str) -> ScenarioEdit:
        """Go back to what was in force before the present edit: that is an edit as well. Raises as `change`."""
        edit = await self._present()
        if edit.version == 0:
            raise NotFound("version: there is no edit to undo", field="version")
        before = await self._before(edit)
        names = tuple(sorted(n for n in {*before, *edit.scenarios} if before.get(n) != edit.scenarios.get(n)))
        self.settings_with(before)
        comment = f"undoes {edit.version}"
        stored = await self._store(edit.version + 1, author, names, before, comment)
        if stored is None:
            raise Conflict("another edit came at the same moment; look again", field="version")
        return stored

    async def newest(self, count: int) -> list[ScenarioEdit]:
        """The last edits, newest first. Raises Unavailable."""
        try:
            return await self._log.newest(count)
        except (RedisError, OSError) as error:
            raise Unavailable("the edits could not be read; try again") from error

    async def _present(self) -> ScenarioEdit:
        try:
            await self.look()
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        return self.edit

    async def _before(self, edit: ScenarioEdit) -> dict[str, dict[str, Any]]:
        try:
            before = _NONE if edit.version == 1 else await self._log.read(edit.version - 1)
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        if before is None:
            raise NotFound("version: the edit before this one is not stored any more", field="version")
        return before.scenarios

    async def _store(
        self, version: int, author: str, names: tuple[str, ...], scenarios: dict[str, dict[str, Any]], comment: str
    ) -> ScenarioEdit | None:
        """None: another edit came first."""
        edit = ScenarioEdit(version, author, time.time(), names, scenarios, comment)
        try:
            if not await self._log.append(edit):
                return None
            await self.look()
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        return edit
