"""The platform's state as it changes, by server-sent events: GET /v1/live.

A frame is put together once for each point of the timeline, whatever the number of viewers, and not at all while nobody
looks. A stream ends after half a minute, so that a composer that goes keeps nobody, and viewers spread over those that
come; whoever follows asks again with the time of the last point that it has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from deployments.api.admin import deployments_of
from deployments.api.operations import state_of
from deployments.api.routes import CheckedRoute
from recsys.access.gate import Gate
from recsys.errors import Overloaded, RecsysError
from recsys.serving.gateway import Gateway
from recsys.serving.timeline import Timeline

_VIEWERS = 100
"""Open streams of one composer, at the most."""
_STREAM_S = 30.0
_DEPLOYMENTS_S = 10.0
"""Seconds between two looks at Serve's deployments while none of them moves. Serve's controller works for each look."""

ANSWERED_WITHIN_S = 3.0
"""Seconds that a frame waits for Serve's controller: one that hangs would hold it up for a minute."""


class Frames:
    """What viewers are told. Composed by whoever is the first to need it."""

    def __init__(self, gateway: Gateway, gate: Gate, home: Path) -> None:
        self._gateway = gateway
        self._gate = gate
        self._home = home
        self._composing = asyncio.Lock()
        self._tick = -1
        self._state = b""
        self._deployments: list[dict[str, Any]] | None = None
        self._why_none = ""
        self._looked = 0.0
        self.composed = 0
        """Frames so far."""

    async def state(self) -> bytes:
        """All of a frame but the points, as of the newest tick: a JSON object."""
        async with self._composing:
            if self._tick != (tick := self._gateway.timeline.ticks):
                self._state = orjson.dumps(await self._compose())
                self._tick = tick
                self.composed += 1
            return self._state

    async def _compose(self) -> dict[str, Any]:
        await self._look_at_deployments()
        replicas = self._gateway.timeline.replicas
        return {
            "at": time.time(),
            "status": await state_of(self._gateway),
            "deployments": self._deployments,
            "no_deployments": self._why_none,
            "replicas": [
                {
                    "id": replica,
                    "deployment": window.deployment,
                    **{
                        name: window.gauges.get(f"recsys_{name}")
                        for name in ("busy_ratio", "queue_age_seconds", "memory_bytes")
                    },
                }
                for replica, window in sorted(replicas.items())
            ],
        }

    async def _look_at_deployments(self) -> None:
        moving = any(one["running"] != one["target"] for one in self._deployments or ())
        if not moving and time.monotonic() - self._looked < _DEPLOYMENTS_S:
            return
        try:
            # The thread gives up by itself as well: one that waited on would be one more at every look.
            async with asyncio.timeout(2 * ANSWERED_WITHIN_S):
                told = await asyncio.to_thread(deployments_of, self._gate, self._home, ANSWERED_WITHIN_S)
            self._deployments, self._why_none = [one.model_dump() for one in told.deployments], ""
        except TimeoutError:
            self._deployments, self._why_none = None, "Serve's controller does not answer"
        except RecsysError as error:
            self._deployments, self._why_none = None, str(error)
        self._looked = time.monotonic()

    def look_again(self) -> None:
        """Look at the deployments for the next frame: somebody has changed them."""
        self._looked = 0.0


async def stream(timeline: Timeline, frames: Frames, since: float) -> AsyncGenerator[bytes, None]:
    """Yield a frame at once and one at each tick of the timeline. `since`: Unix seconds of the newest point that the
    viewer has.
    """
    with timeline.watched():
        ends = time.monotonic() + _STREAM_S
        while time.monotonic() < ends:
            ticks = timeline.ticks
            points = [point for point in timeline.points if point["at"] > since]
            since = points[-1]["at"] if points else since
            state = await frames.state()
            yield b"data: " + state[:-1] + b',"points":' + orjson.dumps(points) + b"}\n\n"
            await timeline.after(ticks)


def router(gateway: Gateway, frames: Frames) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["operations"], route_class=CheckedRoute)
    timeline = gateway.timeline

    @routes.get("/live", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
    async def live(
        since: Annotated[float, Query(description="Unix seconds of the newest point that is known.")] = 0.0,
    ) -> StreamingResponse:
        """The state of the platform whenever it is measured, as server-sent events; ends after half a minute."""
        if timeline.watching >= _VIEWERS:
            raise Overloaded(f"{_VIEWERS} viewers follow this composer already; try again in a minute")
        return StreamingResponse(stream(timeline, frames, since), media_type="text/event-stream")

    return routes
