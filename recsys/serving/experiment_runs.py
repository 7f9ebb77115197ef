"""Experiments from start to verdict: each begins and ends as an edit of its scenario, and leaves a record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec import structs
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.config.experiments import Experiment
from recsys.config.serving import Serving
from recsys.data.merge_patch import merged
from recsys.errors import BadInput, Conflict, NotFound, Unavailable
from recsys.outcomes.joining import Question
from recsys.outcomes.log_files import LogFiles
from recsys.serving.live_scenarios import LiveScenarios
from recsys.serving.trials import INTERLEAVED
from recsys.state.experiment_records import ExperimentRecord, ExperimentRecords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from recsys.experiments.verdict import Findings
    from recsys.outcomes.by_user import UserRows
    from recsys.statistics.intervals import Estimate, Refusal

_BEFORE_S = 14 * 86_400.0
"""Seconds before the start in which what users did goes into CUPED."""


@dataclass(frozen=True, slots=True)
class RunReport:
    record: ExperimentRecord
    end: float
    """Unix seconds up to which answers were counted."""
    findings: Findings


@dataclass(frozen=True, slots=True)
class Plan:
    """How long an experiment will take, by what came of the scenario's answers lately."""

    users_needed: int | None
    """Of all variants together, to find `effect` with a chance of 80 % by the test that may be looked at any time.
    None: nothing is known of the metric yet."""
    users_lately: int
    """Different users of the scenario in the last days."""
    days_lately: float
    """How many days those are."""


class ExperimentRuns:
    """`settings` are those in force."""

    def __init__(
        self,
        redis: Redis,
        live: LiveScenarios,
        files: LogFiles,
        settings: Callable[[], Serving],
    ) -> None:
        self._records = ExperimentRecords(redis)
        self._live = live
        self._files = files
        self._settings = settings
        self._reading = asyncio.Lock()

    def running(self) -> dict[str, tuple[str, Experiment]]:
        """Name -> scenario and experiment, of those in force."""
        scenarios = self._settings().scenarios.items()
        return {s.experiment.name: (name, s.experiment) for name, s in scenarios if s.experiment is not None}

    async def all(self) -> list[ExperimentRecord]:
        """Newest first. Raises Unavailable."""
        async with _redis("the experiments could not be read; try again"):
            return await self._records.all()

    async def start(self, scenario: str, experiment: Experiment, author: str) -> ExperimentRecord:
        """Raises BadInput, Conflict where the name was used or the scenario has an experiment, and Unavailable."""
        if scenario not in self._settings().scenarios:
            raise BadInput(f"scenario: there is no {scenario!r}", field="scenario")
        given = experiment.model_dump(mode="json")
        record = ExperimentRecord(scenario, given, time.time(), author)
        async with _redis("the experiment could not be started; try again"):
            if not await self._records.add(record):
                raise Conflict(f"name: there was an experiment {experiment.name!r}; take another name", field="name")
            try:
                await self._live.rewrite(
                    scenario, lambda before: _with_experiment(before, given), author, f"starts {experiment.name}"
                )
            except BaseException:
                await self._records.drop(experiment.name)
                raise
        return record

    async def planned(self, scenario: str, experiment: Experiment) -> Plan:
        """Check an experiment, and say how many users it needs. Raises as `start` and `report`."""
        if scenario not in self._settings().scenarios:
            raise BadInput(f"scenario: there is no {scenario!r}", field="scenario")
        given = experiment.model_dump(mode="json")
        self._live.check_rewritten(scenario, lambda before: _with_experiment(before, given))
        async with self._reading:
            try:
                return await asyncio.to_thread(self._planned, scenario, experiment)
            except OSError as error:
                raise Unavailable(f"the log of answers cannot be read: {error}") from error

    def _planned(self, scenario: str, experiment: Experiment) -> Plan:
        from recsys.experiments.plan import users_needed  # noqa: PLC0415 - as below
        from recsys.outcomes.by_user import by_user  # noqa: PLC0415

        end = time.time()
        rows = by_user(self._files, self._question(end - _BEFORE_S, end), scenario)
        return Plan(users_needed(experiment, rows), rows.user_count, _BEFORE_S / 86_400.0)

    async def note(self) -> None:
        """Make a record of every experiment that a config file or an edit of scenarios has started."""
        for scenario, experiment in self.running().values():
            given = experiment.model_dump(mode="json")
            await self._records.add(ExperimentRecord(scenario, given, time.time(), "settings"))

    async def ramp(self, name: str, share: float, author: str) -> ExperimentRecord:
        """Raises NotFound where it does not run, BadInput for a share that is not above the present one."""
        scenario, experiment = self._found(name)
        if share <= experiment.share:
            raise BadInput(
                f"share: {experiment.share} of the users are in it; give more, for those who are in stay in",
                field="share",
            )
        return await self._change(scenario, name, {"share": share}, author, f"ramps {name} to {share}")

    async def stop_variant(self, name: str, variant: str, reason: str) -> ExperimentRecord:
        """Answer the variant's users as the control's from now on. Raises as `ramp`."""
        scenario, _ = self._found(name)
        patch = {"variants": {variant: {"stopped": reason}}}
        return await self._change(scenario, name, patch, "guardrail", f"stops {name}/{variant}: {reason}"[:1000])

    async def stop(self, name: str, author: str, reason: str = "", keep: str | None = None) -> ExperimentRecord:
        """End it. `keep`: the variant whose settings the scenario is to have; None: its own. Raises as `ramp`."""
        scenario, experiment = self._found(name)
        if keep is not None and keep not in experiment.variants:
            names = ", ".join(experiment.variants)
            raise BadInput(f"keep: {keep!r} is no variant; they are {names}", field="keep")
        patch = {} if keep is None else experiment.variants[keep].settings
        async with _redis("the experiment could not be stopped; try again"):
            await self.note()
            await self._live.rewrite(
                scenario, lambda before: merged({**before, "experiment": None}, patch), author, f"stops {name}"
            )
            record = await self._record(name)
            ended = structs.replace(record, ended_at=time.time(), reason=reason, kept=keep)
            await self._records.put(ended)
        return ended

    async def report(self, name: str) -> RunReport:
        """What it says so far. Raises NotFound, Unavailable, and TooLarge for more answers than can be joined."""
        async with _redis("the experiment could not be read; try again"):
            await self.note()
            record = await self._record(name)
        async with self._reading:
            try:
                return await asyncio.to_thread(self._report, record)
            except OSError as error:
                raise Unavailable(f"the log of answers cannot be read: {error}") from error

    def _report(self, record: ExperimentRecord) -> RunReport:
        # numpy, scipy and DuckDB are loaded where a report is asked for: no other composer holds them.
        from recsys.experiments.metrics import before_of  # noqa: PLC0415
        from recsys.experiments.verdict import judged, preferred  # noqa: PLC0415
        from recsys.outcomes.by_user import by_user  # noqa: PLC0415

        experiment = Experiment.model_validate(record.experiment)
        end = time.time() if record.ended_at is None else record.ended_at
        span = record.started_at, end
        if experiment.kind == "interleaving":
            rows = by_user(self._files, self._question(*span), record.scenario, [f"{record.name}/{INTERLEAVED}"])
            return RunReport(record, end, preferred(experiment, rows, span))
        rows = self._rows(record, experiment, end)
        earlier = by_user(self._files, self._question(span[0] - _BEFORE_S, span[0]), record.scenario)
        before = before_of(rows, earlier, experiment.metric)
        return RunReport(record, end, judged(experiment, rows, span, before))

    def _rows(self, record: ExperimentRecord, experiment: Experiment, end: float) -> UserRows:
        """Of a split."""
        from recsys.outcomes.by_user import by_user  # noqa: PLC0415 - as above

        labels = [f"{record.name}/{variant}" for variant in experiment.variants]
        return by_user(self._files, self._question(record.started_at, end), record.scenario, labels)

    async def disliked(self, name: str) -> dict[str, str]:
        """Variants of a split whose metric is worse than the control's, with the reason. Raises as `report`."""
        record = await self._record(name)
        async with self._reading:
            return await asyncio.to_thread(self._disliked, record)

    def _disliked(self, record: ExperimentRecord) -> dict[str, str]:
        from recsys.experiments.guardrails import Arms, disliked  # noqa: PLC0415 - as above
        from recsys.experiments.metrics import users_of  # noqa: PLC0415

        experiment = Experiment.model_validate(record.experiment)
        rows = self._rows(record, experiment, time.time())
        arms = [users_of(rows, experiment.metric, place) for place in range(len(experiment.variants))]
        reasons = {
            name: disliked(experiment.effect, [Arms(arm, arms[0])])
            for name, arm in zip(experiment.variants, arms, strict=True)
        }
        return {name: reason for name, reason in reasons.items() if reason is not None}

    async def other_temperature(
        self, scenario: str, temperature: float, start: float, end: float
    ) -> dict[str, Estimate | Refusal]:
        """What share of first places would be clicked on at another temperature. Raises as `report`."""
        if scenario not in self._settings().scenarios:
            raise BadInput(f"scenario: there is no {scenario!r}", field="scenario")
        async with self._reading:
            try:
                return await asyncio.to_thread(self._other_temperature, scenario, temperature, start, end)
            except OSError as error:
                raise Unavailable(f"the log of answers cannot be read: {error}") from error

    def _other_temperature(
        self, scenario: str, temperature: float, start: float, end: float
    ) -> dict[str, Estimate | Refusal]:
        from recsys.experiments.other_orders import other_temperature  # noqa: PLC0415 - as above
        from recsys.outcomes.drawn_places import first_places  # noqa: PLC0415

        return other_temperature(first_places(self._files, self._question(start, end), scenario), temperature)

    def _question(self, start: float, end: float) -> Question:
        return Question(start, end, (), self._settings().slate_log.window_s, self._settings().outcome_roles())

    def _found(self, name: str) -> tuple[str, Experiment]:
        running = self.running()
        if name not in running:
            raise NotFound(f"experiment: {name!r} does not run", field="experiment")
        return running[name]

    async def _record(self, name: str) -> ExperimentRecord:
        record = await self._records.read(name)
        if record is None:
            raise NotFound(f"experiment: there is no {name!r}", field="experiment")
        return record

    async def _change(
        self, scenario: str, name: str, patch: Mapping[str, Any], author: str, comment: str
    ) -> ExperimentRecord:
        async with _redis("the experiment could not be changed; try again"):
            await self.note()
            await self._live.rewrite(scenario, lambda before: _patched(before, name, patch), author, comment)
            changed = structs.replace(await self._record(name), experiment=self._found(name)[1].model_dump(mode="json"))
            await self._records.put(changed)
        return changed


def _with_experiment(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if before.get("experiment") is not None:
        raise Conflict(f"scenario: {before['experiment']['name']!r} runs on it; stop that first", field="scenario")
    return {**before, "experiment": given}


def _patched(before: Mapping[str, Any], name: str, patch: Mapping[str, Any]) -> dict[str, Any]:
    experiment = before.get("experiment")
    if experiment is None or experiment["name"] != name:
        raise NotFound(f"experiment: {name!r} does not run any more", field="experiment")
    return {**before, "experiment": merged(experiment, patch)}


@asynccontextmanager
async def _redis(message: str) -> AsyncIterator[None]:
    """Raise Unavailable where Redis does not answer."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(message) from error
