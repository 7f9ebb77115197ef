"""Scenarios over HTTP: which are in force, what may stand in one, edits, and what an edit would change."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, create_model

from deployments.api.authors import Authors
from deployments.api.routes import CheckedRoute
from deployments.api.schemas import Body
from recsys.access.gate import Gate
from recsys.answers import Slate
from recsys.config.scenarios import Scenario
from recsys.data.filters import FilterIn
from recsys.data.records import Id
from recsys.data.rules import RuleIn
from recsys.datatypes import RecQuery
from recsys.errors import BadInput
from recsys.serving.gateway import Gateway
from recsys.state.scenario_log import ScenarioEdit

_USERS = 20
"""Users of a preview, at the most."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class ScenariosPatch(Body):
    scenarios: dict[Name, dict[str, Any] | None] = Field(min_length=1, max_length=64)
    """By name: what is to be changed. null inside takes a setting back to its default; null for a scenario takes it
    back to what the config file says, or away."""
    author: str = Field("", max_length=128)
    """Who changes it; empty: the name of the API key."""
    comment: str = Field("", max_length=1000)
    version: Annotated[int, Field(strict=True, ge=0)] | None = None
    """The edit that was seen as the newest: with another one in force nothing is changed. null: whichever it is."""


class ScenariosPreview(Body):
    scenarios: dict[Name, dict[str, Any] | None] = Field(max_length=64)
    """As in the PATCH."""
    scenario: Name
    """The one that slates are made of."""
    users: list[Id] = Field([], max_length=_USERS)
    """Whose slates; empty: five who came lately, and somebody who is not known."""
    k: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    text: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    """For a scenario of searches."""
    item_id: Id | None = None
    """For a scenario of similar items."""
    items: list[Id] = Field([])
    """For a scenario that ranks."""


class Undo(Body):
    author: str = Field("", max_length=128)


def router(gateway: Gateway, gate: Gate) -> APIRouter:
    routes = APIRouter(tags=["admin"], prefix="/v1/admin/scenarios", route_class=CheckedRoute)
    live = gateway.scenarios
    authors = Authors(gateway, gate)

    @routes.get("")
    async def scenarios(history: Annotated[int, Query(ge=0, le=100)] = 10) -> Response:
        """All scenarios in force, and the last edits, newest first."""
        edits = await live.newest(history)
        body = {
            **_edit(live.edit),
            "refused": live.refused,
            "scenarios": {name: s.model_dump(mode="json") for name, s in sorted(gateway.settings.scenarios.items())},
            "history": [_edit(edit) for edit in edits],
        }
        return _json(body)

    @routes.get("/schema")
    async def schema() -> Response:
        """JSON Schema of one scenario."""
        return _json(_schema())

    @routes.patch("")
    async def patch(request: Request, body: ScenariosPatch) -> Response:
        """Change scenarios, live: here at once, in other composers within a second or two."""
        author = authors.of(request, body.author)
        return _json(_edit(await live.change(body.scenarios, author, body.comment, body.version)))

    @routes.post("/undo")
    async def undo(request: Request, body: Undo) -> Response:
        """Take back the edit in force, which is an edit of its own."""
        return _json(_edit(await live.undo(authors.of(request, body.author))))

    @routes.post("/preview")
    async def preview(body: ScenariosPreview) -> Response:
        """What an edit would change: the slates of before and after for some users. Nothing is stored."""
        after = live.settings_with(live.changed(body.scenarios))
        if body.scenario not in after.scenarios:
            raise BadInput(f"scenario: there is no {body.scenario!r}", field="scenario")
        users: list[str | None] = [*body.users] if body.users else [*gateway.lately(5), None]
        queries = [_query(body, user, after.scenarios[body.scenario]) for user in users]
        slates = await gateway.preview(after, queries, body.text)
        exists = body.scenario in gateway.settings.scenarios
        before = await gateway.preview(gateway.settings, queries, body.text) if exists else None
        return _json(
            {
                "scenario": body.scenario,
                "users": [
                    {
                        "user_id": user,
                        "before": None if before is None else _ids(before[n]),
                        "after": _ids(slates[n]),
                    }
                    for n, user in enumerate(users)
                ],
            }
        )

    return routes


def _query(body: ScenariosPreview, user: str | None, scenario: Scenario) -> RecQuery:
    """Raises BadInput where the call that the scenario is for needs something that is not given."""
    call = scenario.call(body.scenario)
    needed = {"search": ("text", body.text), "similar": ("item_id", body.item_id), "rank": ("items", body.items)}
    if call in needed and not needed[call][1]:
        field = needed[call][0]
        raise BadInput(f"{field}: a scenario for {call} needs it: give one to look at", field=field)
    return RecQuery(
        k=len(body.items) if call == "rank" else body.k,
        scenario=body.scenario,
        user_id=user,
        like_item=body.item_id if call == "similar" else None,
        items=tuple(dict.fromkeys(body.items)) if call == "rank" else None,
        include_seen=call in ("search", "rank"),
    )


def _edit(edit: ScenarioEdit) -> dict[str, Any]:
    told = {"version": edit.version, "author": edit.author, "at": edit.at}
    return {**told, "changed": list(edit.changed), "comment": edit.comment}


def _ids(slate: Slate | Exception) -> list[dict[str, Any]]:
    if isinstance(slate, Exception):
        raise slate
    return [{"item_id": item.item_id, "title": item.title, "score": item.score} for item in slate.items]


@cache
def _schema() -> dict[str, Any]:
    """Of a scenario as it stands in a body. Made when it is first asked for: a composer starts without it."""
    kind = create_model("Scenario", __base__=Scenario, rules=(tuple[RuleIn, ...], ()), filter=(FilterIn | None, None))
    return kind.model_json_schema()


def _json(body: object) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
