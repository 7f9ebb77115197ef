"""The second demo finds that the platform has the ratings."""

from __future__ import annotations

import asyncio

import pytest

from deployments.cli.demo import are_there
from tests.support.client_here import ClientHere
from tests.support.world import event


@pytest.mark.parametrize(("missing", "expected"), [("nobody", True), ("u59", False), ("u25", False)])
async def test_the_users_whose_turn_is_last_tell_whether_all_events_were_sent(make_http, missing, expected) -> None:
    """One of the last who lacks an event says that not all were. Asking adds none."""
    http = await make_http()
    events = [event(f"u{n % 60}", f"sea-{n // 60}") for n in range(180)]
    sent = [one for one in events if one.user_id != missing]
    await http.world.gateway.record([*sent, event("u59", "sea-9")] if missing == "nobody" else sent)
    with ClientHere(http) as client:
        assert await asyncio.to_thread(are_there, events, 1000, client) is expected
    assert (await http.get("/v1/users/u0")).json()["events"] == 3
