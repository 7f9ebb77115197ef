"""`recsys up` on a Redis that another platform uses already."""

from __future__ import annotations

import asyncio

import pytest

from deployments.machine import prefix_conflict
from deployments.machine.prefix_conflict import refuse_if_another_platform
from recsys.errors import RuntimeFailure


async def test_a_prefix_under_which_a_platform_runs_is_refused_in_one_line(make_world, shared_valkey, monkeypatch):
    """Logs and histories of both would be one; under another prefix, and after its end, the start goes on."""
    monkeypatch.setattr(prefix_conflict, "STALE_S", 0.5)  # its replicas speak every second
    world = await make_world()
    with pytest.raises(RuntimeFailure, match=r"under the prefix 'recsys' \(\d+ replicas, .*redis_prefix") as caught:
        await asyncio.to_thread(refuse_if_another_platform, shared_valkey.url, "recsys")
    assert "\n" not in str(caught.value)
    await asyncio.to_thread(refuse_if_another_platform, shared_valkey.url, "other")
    await world.__aexit__(None, None, None)
    await asyncio.to_thread(refuse_if_another_platform, shared_valkey.url, "recsys")
