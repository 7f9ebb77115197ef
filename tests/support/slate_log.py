"""The log of answers and outcomes, looked at from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from redis.asyncio import Redis

from recsys.answers import Recommendation, Slate
from recsys.datatypes import RecQuery
from recsys.outcomes.collecting import KINDS, Collector
from recsys.outcomes.log_files import LogFiles
from recsys.state.slate_columns import Answer
from tests.support.world import NOW, eventually


def answer(request_id: str, items: Sequence[str], user: str | None = "u", **given: Any) -> Answer:
    """An answer with these items, the first from `similar` and the others from `popular`."""
    scores = given.get("scores") or [1.0 / n for n in range(1, len(items) + 1)]
    found = [
        Recommendation(item, item, n, score, "similar" if n == 1 else "popular", ())
        for n, (item, score) in enumerate(zip(items, scores, strict=True), start=1)
    ]
    query = RecQuery(k=10, user_id=user, request_id=request_id, scenario=given.get("scenario", "home"))
    slate = Slate(
        tuple(found), given.get("version", "v1"), "m", variant=given.get("variant", ""),
        propensities=given.get("propensities"), teams=given.get("teams"),
    )  # fmt: skip
    return Answer(given.get("at", NOW), query, slate)


async def collect(redis: Redis, files: LogFiles, keep_hours: int = 10**6) -> None:
    """Until all that is in the streams is in files."""
    collector = Collector(redis, files, lambda: keep_hours)

    async def collected() -> bool:
        await collector.step()
        return not [kind for kind in KINDS.values() if await redis.xlen(kind.stream)]

    assert await eventually(collected)


def rows(files: LogFiles, kind: str) -> list[dict[str, Any]]:
    """All rows of all files, in the order of the stream, as they stand there: those that were doubled come twice."""
    tables = [files.read(kind, hour, name) for hour in files.hours(kind) for name in sorted(files.sizes(kind, hour))]
    found: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(found, key=lambda row: (row["entry"], row["place"]))
