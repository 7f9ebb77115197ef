"""Answers that are given to a `Reply`, for which no task waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from recsys.answers import Slate
from recsys.datatypes import RecQuery
from recsys.serving.slate_writer import SlateWriter
from recsys.transport.coalescing import Reply


class Logged:
    """A reply whose answer is logged behind it."""

    __slots__ = ("_answers", "_query", "_reply")

    def __init__(self, reply: Reply[Slate], query: RecQuery, answers: SlateWriter) -> None:
        self._reply, self._query, self._answers = reply, query, answers

    def done(self) -> bool:
        return self._reply.done()

    def set_result(self, slate: Slate) -> None:
        self._reply.set_result(slate)
        self._answers.add(self._query, slate)

    def set_exception(self, error: BaseException) -> None:
        self._reply.set_exception(error)


class Answering:
    """Tasks that give what they return to replies: the event loop keeps no task alive."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, slate: Coroutine[Any, Any, Slate], reply: Reply[Slate]) -> None:
        task = asyncio.get_running_loop().create_task(_give(slate, reply))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _give(slate: Coroutine[Any, Any, Slate], reply: Reply[Slate]) -> None:
    try:
        answer = await slate
    except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
        reply.set_exception(error)
    else:
        reply.set_result(answer)
