"""Sending of files to the platform: what the bar of an import shows."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from deployments.cli.left_out import LeftOut
from deployments.cli.progress import bars
from deployments.cli.sending import Sending
from recsys.config.serving import Limits, Serving
from recsys.reading.dialect import ReadOptions
from recsys.reading.judgement import Joined
from recsys.reading.readers import read_events
from tests.support.client_here import ClientHere


@pytest.mark.parametrize("count", [40, 2500])
async def test_the_bar_ends_at_what_was_sent(make_http, tmp_path: Path, count: int) -> None:
    """Also where all that is sent fits into the calls that are under way together, whose answers come last."""
    http = await make_http()
    file = tmp_path / "events.csv"
    rows = (f"u{n % 20},sea-{n % 7},like,{1_700_000_000 + n}" for n in range(count))
    file.write_text("user_id,item_id,type,timestamp\n" + "\n".join(rows))
    console = Console(record=True, width=120, force_terminal=True, file=io.StringIO())
    sending = Sending("events", LeftOut(console, None, "events"), Joined(None))
    batches = read_events([file], Serving().event_types, Limits(), ReadOptions(), 1000)
    with ClientHere(http) as client, bars(console) as report:
        await asyncio.to_thread(sending.send, batches, client, report)
    assert sending.as_json()["sent"] == count
    ended = [line for line in console.export_text().splitlines() if "send events" in line][-1]
    assert f"{count}/{count}" in ended
