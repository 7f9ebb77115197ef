"""How soon a write shows, under load: milliseconds from sending it to its effect being answered."""

from __future__ import annotations

import time
import uuid
from typing import Any

import httpx
import numpy as np

_TIMES = 100
_BATCH = 1000


async def freshness(url: str) -> dict[str, Any]:
    """`event`: the very next recommendation lacks what was just liked. `upsert`, `delete`: every replica of the shard
    has applied it. `stale_events`: how often the next recommendation did not know the event.
    """
    took: dict[str, list[float]] = {"event": [], "upsert": [], "delete": []}
    stale = 0
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        for n in range(_TIMES):
            user, item = f"fresh-{uuid.uuid4().hex[:8]}", f"fresh-{n}"
            shown = (await _json(http, "GET", f"/v1/users/{user}/recommendations"))["items"][0]["item_id"]
            start = time.perf_counter()
            event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": shown, "type": "like"}
            await _json(http, "POST", "/v1/events", json={"events": [event]})
            slate = await _json(http, "GET", f"/v1/users/{user}/recommendations")
            took["event"].append(time.perf_counter() - start)
            stale += shown in {item["item_id"] for item in slate["items"]}
            took["upsert"].append(await _visible(http, "PUT", f"/v1/items/{item}", json={"title": f"Fresh film {n}"}))
            took["delete"].append(await _visible(http, "DELETE", f"/v1/items/{item}"))
        items = [{"item_id": f"batch-{n}", "title": f"Film number {n} of a batch"} for n in range(_BATCH)]
        batch = await _visible(http, "POST", "/v1/items", json={"items": items})
        for one in items:
            await _json(http, "DELETE", f"/v1/items/{one['item_id']}")
    percentiles = {
        name: {f"p{q}": round(1000 * float(np.percentile(times, q)), 1) for q in (50, 99)}
        for name, times in took.items()
    }
    return {**percentiles, "batch_of_1000_items": round(1000 * batch, 1), "stale_events": stale}


async def _visible(http: httpx.AsyncClient, method: str, path: str, **how: Any) -> float:
    start = time.perf_counter()
    body = await _json(http, method, path, params={"wait": "visible"}, **how)
    taken = time.perf_counter() - start
    if not _all_visible(body):
        raise RuntimeError(f"{method} {path} is not visible after {taken:.1f} s: {str(body)[:300]}")
    return taken


def _all_visible(body: dict[str, Any]) -> bool:
    written = body.get("written", [body])
    return all(one["visible"] for one in written)


async def _json(http: httpx.AsyncClient, method: str, path: str, **how: Any) -> dict[str, Any]:
    answer = await http.request(method, path, **how)
    answer.raise_for_status()
    return dict(answer.json())
