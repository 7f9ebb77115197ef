"""Experiments over HTTP: start, widen, stop, and what they say."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import Field

from deployments.api.authors import Authors
from deployments.api.routes import CheckedRoute
from deployments.api.schemas import Body
from recsys.access.gate import Gate
from recsys.config.experiments import Experiment
from recsys.data.records import UnixSeconds
from recsys.errors import BadInput
from recsys.serving.experiment_runs import Plan, RunReport
from recsys.serving.gateway import Gateway
from recsys.state.experiment_records import ExperimentRecord
from recsys.statistics.intervals import Estimate, Refusal

_DAY_S = 86_400.0

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
PathName = Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ExperimentStart(Body):
    scenario: Name
    """Whose requests are in it."""
    experiment: Experiment
    author: str = Field("", max_length=128)
    """Who starts it; empty: the name of the API key."""
    dry_run: Annotated[bool, Field(strict=True)] = False
    """Whether only to check it, and to say how many users it needs."""


class ExperimentRamp(Body):
    share: Annotated[float, Field(ge=0.0001, le=1, allow_inf_nan=False)]
    """Of the users; more than now."""
    author: str = Field("", max_length=128)


class ExperimentStop(Body):
    keep: Name | None = None
    """The variant whose settings the scenario is to have from now on; null: its own."""
    reason: str = Field("", max_length=1000)
    author: str = Field("", max_length=128)


def router(gateway: Gateway, gate: Gate) -> APIRouter:
    routes = APIRouter(tags=["admin"], prefix="/v1/admin", route_class=CheckedRoute)
    runs = gateway.experiments
    authors = Authors(gateway, gate)

    @routes.get("/experiments")
    async def experiments() -> Response:
        """All experiments, newest first; those that run have no `ended_at`."""
        return _json({"experiments": [_record(record) for record in await runs.all()]})

    @routes.post("/experiments")
    async def start(request: Request, body: ExperimentStart) -> Response:
        """Start one: here at once, in other composers within a second or two."""
        author = authors.of(request, body.author)
        plan = await runs.planned(body.scenario, body.experiment)
        if body.dry_run:
            return _json({"dry_run": True, **_plan(plan)})
        return _json({**_record(await runs.start(body.scenario, body.experiment, author)), **_plan(plan)})

    @routes.get("/experiments/{name}")
    async def report(name: PathName) -> Response:
        """What it says so far; docs/experiments.md says what each number means, and when not to believe it."""
        return _json(_report(await runs.report(name)))

    @routes.patch("/experiments/{name}")
    async def ramp(request: Request, name: PathName, body: ExperimentRamp) -> Response:
        """Take in more users. Nobody who is in it changes the variant."""
        return _json(_record(await runs.ramp(name, body.share, authors.of(request, body.author))))

    @routes.post("/experiments/{name}/stop")
    async def stop(request: Request, name: PathName, body: ExperimentStop) -> Response:
        """End it; what it says can still be read."""
        author = authors.of(request, body.author)
        return _json(_record(await runs.stop(name, author, body.reason, body.keep)))

    @routes.get("/off-policy")
    async def off_policy(
        scenario: Annotated[str, Query(max_length=64)] = "home",
        temperature: Annotated[float, Query(ge=0, le=100, allow_inf_nan=False)] = 0.0,
        since: Annotated[
            UnixSeconds | None, Query(alias="from", description="RFC 3339 or Unix seconds; 30 days before `to`.")
        ] = None,
        until: Annotated[UnixSeconds | None, Query(alias="to", description="RFC 3339 or Unix seconds; now.")] = None,
    ) -> Response:
        """What share of first places would be clicked on at another temperature, from answers whose order was drawn."""
        end = time.time() if until is None else until
        begin = end - 30 * _DAY_S if since is None else since
        if begin >= end:
            raise BadInput("from: lies at or behind `to`; give an earlier one", field="from")
        estimates = await runs.other_temperature(scenario, temperature, begin, end)
        return _json(
            {
                "scenario": scenario,
                "temperature": temperature,
                "metric": "click_through of the first place",
                "start": begin,
                "end": end,
                "estimates": {name: _estimate_or_refusal(estimate) for name, estimate in estimates.items()},
            }
        )

    return routes


def _record(record: ExperimentRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "scenario": record.scenario,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "author": record.author,
        "reason": record.reason,
        "kept": record.kept,
        "experiment": record.experiment,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    return asdict(plan)


def _report(report: RunReport) -> dict[str, Any]:
    findings = report.findings
    return {
        **_record(report.record),
        "end": report.end,
        "sample_ratio_p": findings.sample_ratio_p,
        "a_a": findings.a_a,
        "variants": [
            {
                "variant": side.variant,
                "users": side.users,
                "answers": side.answers,
                "metric": _estimate(side.metric),
            }
            for side in findings.sides
        ],
        "compared": [
            {
                "variant": one.variant,
                "verdict": one.verdict,
                "difference": _estimate(one.difference),
                "always": _estimate(one.always),
                "p_value": one.p_value,
                "lift": one.lift,
                "cuped": None
                if one.adjusted is None
                else {"difference": _estimate(one.adjusted.difference), "spared": one.adjusted.spared},
                "users_needed": one.users_needed,
                "looks": [
                    {
                        "until": look.until,
                        "difference": _estimate(look.difference),
                        "always": _estimate(look.always),
                    }
                    for look in one.looks
                ],
            }
            for one in findings.compared
        ],
    }


def _estimate(estimate: Estimate | None) -> dict[str, float] | None:
    """None where there is no number."""
    if estimate is None or not math.isfinite(estimate.value):
        return None
    return asdict(estimate)


def _estimate_or_refusal(estimate: Estimate | Refusal) -> dict[str, Any]:
    if isinstance(estimate, Refusal):
        return {"refused": estimate.reason, "effective": estimate.effective}
    return asdict(estimate)


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
