"""The body of an answer that is a slate, and the times that go with it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from recsys.answers import Recommendation, SearchPlan, Slate
from recsys.datatypes import RecQuery
from recsys.serving.left_out import WhyNot


class SlateHead(msgspec.Struct, omit_defaults=True, gc=False):
    """What a slate begins with, alone or among several."""

    request_id: str
    scenario: str
    model_version: str
    index_version: str
    degraded: tuple[str, ...]


class _Body(SlateHead, omit_defaults=True, gc=False):
    """What SlateOut documents, written as JSON without a step between."""

    took_ms: float
    items: tuple[Recommendation, ...]
    unknown_items: tuple[str, ...] | None = None
    """Only where items were given to rank."""
    notes: tuple[str, ...] = ()
    search: SearchPlan | None = None
    """Only where explanations were asked for."""
    next_token: str | None = None
    """Only where pages were asked for."""
    why_not: Sequence[WhyNot] | None = None
    """Only where it was asked for."""


_json = msgspec.json.Encoder().encode


def written(
    slate: Slate, query: RecQuery, request_id: str, start: float, left_out: Sequence[WhyNot] | None = None
) -> tuple[bytes, str]:
    """Return the body as JSON, and the value of the header Server-Timing.

    `start`: when the request was read, by time.perf_counter(). `left_out`: why items are not in the slate.
    """
    took_ms = (time.perf_counter() - start) * 1000
    timing = ", ".join([*(f"{stage};dur={ms:.2f}" for stage, ms in slate.stages.items()), f"total;dur={took_ms:.2f}"])
    body = _Body(
        request_id,
        query.scenario,
        slate.model_version,
        slate.index_version,
        slate.degraded,
        round(took_ms, 3),
        slate.items,
        None if query.items is None else slate.unknown_items,
        slate.notes,
        slate.search,
        slate.next_page,
        left_out or None,
    )
    return _json(body), timing
