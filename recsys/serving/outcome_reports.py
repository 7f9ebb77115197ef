"""Reports of what came of the answers, for whoever asks: one is read from the log at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from recsys.errors import Unavailable
from recsys.outcomes.by_item import CatalogueUse, ItemCourse, catalogue_use, item_course
from recsys.outcomes.joining import Question, Report, report
from recsys.outcomes.log_files import LogFiles

T = TypeVar("T")


class OutcomeReports:
    """All methods raise Unavailable where the log cannot be read."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files
        self._reading = asyncio.Lock()

    async def outcomes(self, question: Question) -> Report:
        """What came of the answers of a period."""
        return await self._read(partial(report, self._files, question))

    async def item_course(self, question: Question, item_id: str) -> ItemCourse:
        """Where an item was shown, and what came of it."""
        return await self._read(partial(item_course, self._files, question, item_id))

    async def catalogue_use(self, question: Question) -> CatalogueUse:
        """How much of the catalogue was shown."""
        return await self._read(partial(catalogue_use, self._files, question))

    async def _read(self, read: Callable[[], T]) -> T:
        async with self._reading:
            try:
                return await asyncio.to_thread(read)
            except OSError as error:
                raise Unavailable(f"the log of answers cannot be read: {error}") from error
