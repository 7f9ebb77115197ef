"""What users were shown and ignored gives way to other items, in scenarios that rotate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence

import numpy as np
from redis.exceptions import RedisError

from recsys.answers import Slate
from recsys.config.scenarios import Scenario
from recsys.datatypes import Keys, RecQuery, item_keys
from recsys.ranking.batch_query import Prepared
from recsys.ranking.rules import Effect
from recsys.shard.candidates import CandidateSet
from recsys.state.shown_items import Shown, ShownItems

_NOTED_S = 5.0
"""Seconds that noting a batch may take; it is behind the answers."""


class Rotation:
    def __init__(self, store: ShownItems, scenarios: Mapping[str, Scenario]) -> None:
        self._store = store
        self._rotating = {name for name, scenario in scenarios.items() if scenario.rotation}
        self._noting: set[asyncio.Task[None]] = set()
        self._adding = asyncio.Lock()

    async def load(self, queries: Sequence[RecQuery], budget_s: float) -> dict[str, Shown]:
        """What the users of rotating scenarios were shown; empty where Redis does not answer in time."""
        if not self._rotating:  # nearly always
            return {}
        users = {q.user_id for q in queries if q.user_id is not None and q.scenario in self._rotating}
        if not users:
            return {}
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(budget_s):
                return await self._store.load(sorted(users))
        return {}

    def effects(self, batch: Sequence[Prepared], candidates: CandidateSet, now: float) -> list[Effect]:
        """What is taken off the scores of items that were shown. What the user has had to do with was not ignored."""
        effects = []
        for b, prepared in enumerate(batch):
            shown, scenario = prepared.shown, prepared.scenario
            if shown is None or not len(shown.keys):
                continue
            rows = np.arange(candidates.offsets[b], candidates.offsets[b + 1])
            times = shown.of(candidates.keys[rows], now, scenario.rotation_half_life_s)
            ignored = (times > 0) & ~np.isin(candidates.keys[rows], prepared.profile.seen)
            rows, times = rows[ignored], times[ignored]
            effects.append(Effect("rotation", -scenario.rotation, rows, times / (1 + times)))
        return effects

    def note(self, batch: Sequence[Prepared], slates: Sequence[Slate | Exception], now: float) -> None:
        """Note behind the answers what is shown now."""
        sketches: dict[str, tuple[Shown, float]] = {}
        for prepared, slate in zip(batch, slates, strict=True):
            user_id = prepared.query.user_id if prepared.query.noted else None
            if prepared.shown is None or not isinstance(slate, Slate) or user_id is None:
                continue
            half_life_s = prepared.scenario.rotation_half_life_s
            before = sketches[user_id][0] if user_id in sketches else prepared.shown
            keys = item_keys(item.item_id for item in slate.items)
            sketches[user_id] = before.after(keys, now, half_life_s), half_life_s
        if sketches:
            self._behind(self._save(sketches))

    def shown(self, query: RecQuery, scenario: Scenario, slate: Slate, now: float) -> None:
        """Note behind the answers what is shown of a slate that was ranked with `noted` False."""
        if scenario.rotation and query.user_id is not None and query.items is None:
            keys = item_keys(item.item_id for item in slate.items)
            self._behind(self._add(query.user_id, keys, scenario.rotation_half_life_s, now))

    def _behind(self, noting: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(noting)
        self._noting.add(task)
        task.add_done_callback(self._noting.discard)

    async def noted(self) -> None:
        """Wait until all that was shown is noted."""
        await asyncio.gather(*self._noting)

    async def _add(self, user_id: str, keys: Keys, half_life_s: float, now: float) -> None:
        async with self._adding:  # the rows of a page are several slates of one user
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(_NOTED_S):
                    before = (await self._store.load([user_id]))[user_id]
                    await self._store.save({user_id: (before.after(keys, now, half_life_s), half_life_s)})

    async def _save(self, sketches: Mapping[str, tuple[Shown, float]]) -> None:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_NOTED_S):
                await self._store.save(sketches)
