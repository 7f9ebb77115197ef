"""Requests that travel together."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import pytest

from recsys.errors import Overloaded
from recsys.transport.coalescing import Caller, Coalescer


class Flights:
    """A function to coalesce into: it doubles numbers, and can be held back."""

    def __init__(self, *, held: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.under_way = self.most_under_way = 0
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def __call__(self, batch: list[int]) -> list[int | Exception]:
        self.batches.append(batch)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
            if any(x < 0 for x in batch):
                raise ZeroDivisionError(f"batch {batch}")
            return [ValueError(str(x)) if x == 13 else 2 * x for x in batch]
        finally:
            self.under_way -= 1


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def send(coalescer: Coalescer[int, int], numbers: list[int]) -> list[asyncio.Future[int]]:
    """The first leaves by itself, the others come while it is away."""
    first = asyncio.ensure_future(coalescer.submit(numbers[0]))
    await settle()
    others = [asyncio.ensure_future(coalescer.submit(n)) for n in numbers[1:]]
    await settle()
    return [first, *others]


async def test_an_idle_coalescer_sends_at_once():
    """A single request leaves alone and without a wait; so does the next."""
    flights = Flights()
    coalescer = Coalescer(flights, max_batch=8, max_in_flight=1)
    assert [await coalescer.submit(1), await coalescer.submit(2)] == [2, 4]
    assert flights.batches == [[1], [2]]


async def test_what_waits_leaves_together():
    """While the only flight is away, requests gather, and leave in order, `max_batch` at a time."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=3, max_in_flight=1)
    requests = await send(coalescer, list(range(8)))
    assert len(coalescer) == 7
    flights.gate.set()
    assert await asyncio.gather(*requests) == [2 * x for x in range(8)]
    assert flights.batches == [[0], [1, 2, 3], [4, 5, 6], [7]]


async def test_what_comes_at_once_leaves_at_once():
    """Requests of one turn of the event loop share the first flight."""
    flights = Flights()
    coalescer = Coalescer(flights, max_batch=8, max_in_flight=1)
    assert await asyncio.gather(*map(coalescer.submit, range(5))) == [0, 2, 4, 6, 8]
    assert flights.batches == [[0, 1, 2, 3, 4]]


async def test_a_second_flight_is_as_full_as_the_first():
    """Eight that come at once share two flights; while both are away the next ones wait."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=8, max_in_flight=2)
    requests = [asyncio.ensure_future(coalescer.submit(x)) for x in range(8)]
    await settle()
    assert flights.batches == [[0, 1, 2, 3], [4, 5, 6, 7]]
    flights.gate.set()
    await asyncio.gather(*requests)
    flights.gate.clear()
    requests = [asyncio.ensure_future(coalescer.submit(20))]
    await settle()
    requests += [asyncio.ensure_future(coalescer.submit(21))]
    await settle()
    assert flights.batches[2:] == [[20], [21]]
    requests += [asyncio.ensure_future(coalescer.submit(x)) for x in (22, 23, 24)]
    await settle()
    assert len(coalescer) == 3
    flights.gate.set()
    assert await asyncio.gather(*requests) == [40, 42, 44, 46, 48]


@pytest.mark.parametrize("seed", range(20))
async def test_every_request_gets_its_own_answer(seed):
    """Among cancellations, errors of single requests and of whole batches, with limits held throughout."""
    rng = random.Random(seed)
    flights = Flights()
    max_batch, max_in_flight = rng.randint(1, 5), rng.randint(1, 3)
    coalescer = Coalescer(flights, max_batch=max_batch, max_in_flight=max_in_flight)
    sent: list[tuple[int, asyncio.Task]] = []
    cancelled: set[asyncio.Task] = set()
    for _ in range(120):
        action = rng.random()
        if action < 0.7:
            number = rng.choice([13, *range(40)] + [-1] * (rng.random() < 0.05))
            sent.append((number, asyncio.ensure_future(coalescer.submit(number))))
        elif action < 0.8 and sent:
            task = rng.choice(sent)[1]
            if task.cancel():
                cancelled.add(task)
        elif action < 0.9:
            flights.gate.clear() if rng.random() < 0.5 else flights.gate.set()
        else:
            await asyncio.sleep(0)
    flights.gate.set()
    answers = await asyncio.gather(*(t for _, t in sent), return_exceptions=True)
    failed = {x for batch in flights.batches if min(batch) < 0 for x in batch}
    for (number, task), answer in zip(sent, answers, strict=True):
        if task in cancelled:
            assert isinstance(answer, asyncio.CancelledError)
        elif isinstance(answer, ZeroDivisionError):
            assert number in failed
            assert str(number) in str(answer)
        elif number == 13:
            assert isinstance(answer, ValueError)
        else:
            assert answer == 2 * number
    assert max(map(len, flights.batches)) <= max_batch
    assert flights.most_under_way <= max_in_flight
    assert (flights.under_way, len(coalescer)) == (0, 0)


async def test_an_error_reaches_its_own_batch_alone():
    """All of the failing batch get it; those before and behind it their answers."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=2, max_in_flight=1)
    requests = await send(coalescer, [1, 2, -3, 4, 5])
    flights.gate.set()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert flights.batches == [[1], [2, -3], [4, 5]]
    assert [type(a) for a in answers] == [int, ZeroDivisionError, ZeroDivisionError, int, int]


async def test_an_exception_as_a_result_reaches_its_own_request_alone():
    """The others of the batch have their answers."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=3, max_in_flight=1)
    requests = await send(coalescer, [0, 7, 13, 8])
    flights.gate.set()
    zero, seven, thirteen, eight = await asyncio.gather(*requests, return_exceptions=True)
    assert (zero, seven, eight) == (0, 14, 16)
    assert isinstance(thirteen, ValueError)


async def test_cancelled_requests_do_not_travel():
    """One that gave up while waiting is left out; one that gave up under way harms nobody."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=9, max_in_flight=1)
    requests = await send(coalescer, list(range(5)))
    requests[0].cancel()
    requests[2].cancel()
    await settle()
    flights.gate.set()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert flights.batches == [[0], [1, 3, 4]]
    assert [a for a in answers if not isinstance(a, asyncio.CancelledError)] == [2, 6, 8]


async def test_all_cancelled_leaves_nothing_behind():
    """When everything that waited has given up no empty batch is sent, and the next request is answered."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=2, max_in_flight=1)
    requests = await send(coalescer, list(range(6)))
    for request in requests[1:]:
        request.cancel()
    flights.gate.set()
    await asyncio.gather(*requests, return_exceptions=True)
    assert await coalescer.submit(9) == 18
    assert flights.batches == [[0], [9]]


async def test_past_max_waiting_a_request_is_refused_at_once():
    """Those that wait already are answered all the same, and later there is room again."""
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=1, max_in_flight=2, max_waiting=3)
    requests = [*await send(coalescer, [0]), *await send(coalescer, list(range(1, 8)))]
    flights.gate.set()
    answers = await asyncio.gather(*requests, return_exceptions=True)
    assert answers[:5] == [0, 2, 4, 6, 8]
    assert all(isinstance(a, Overloaded) for a in answers[5:])
    assert await coalescer.submit(1) == 2


async def test_who_would_wait_too_long_is_refused_at_once(monkeypatch):
    """Those that wait already are answered all the same, and later there is room again."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    flights = Flights(held=True)
    coalescer = Coalescer(flights, max_batch=1, max_in_flight=1, max_wait_s=5.0)
    requests = await send(coalescer, [0, 1, 2])
    now[0] += 6.0
    with pytest.raises(Overloaded, match=r"wait for 6\.0 s"):
        await coalescer.submit(3)
    flights.gate.set()
    assert await asyncio.gather(*requests) == [0, 2, 4]
    assert await coalescer.submit(1) == 2


async def test_as_many_results_as_requests():
    """A function that loses one is an error for its batch, not an answer for the wrong caller."""

    async def lossy(batch: list[int]) -> list[int]:
        return batch[:-1]

    with pytest.raises(RuntimeError, match="1 requests went out and 0 results came back"):
        await Coalescer(lossy, max_batch=2, max_in_flight=1).submit(1)


async def test_a_reply_is_given_its_result_without_a_task_that_waits():
    """In the turn in which the batch lands, in order, beside callers that await theirs; errors go the same way."""
    told: list[object] = []

    class Told:
        def done(self) -> bool:
            return False

        def set_result(self, result: int) -> None:
            told.append(result)

        def set_exception(self, error: BaseException) -> None:
            told.append(str(error))

    coalescer = Coalescer(Flights(), max_batch=8, max_in_flight=1, max_waiting=3)
    for number in (1, 13):
        coalescer.enqueue(number, Told(), Caller())
    assert await coalescer.submit(3) == 6
    assert told == [2, "13"]
    flights = Flights(held=True)
    full = Coalescer(flights, max_batch=8, max_in_flight=1, max_waiting=1)
    full.enqueue(1, Told(), Caller())
    with pytest.raises(Overloaded):
        full.enqueue(2, Told(), Caller())
    flights.gate.set()
    await settle()
    assert told == [2, "13", 2]


async def test_results_are_told_behind_the_replies():
    """Of each batch that came back; of one that failed there are none."""
    told: list[list[int | Exception]] = []
    order: list[str] = []

    class Told(asyncio.Future):
        def set_result(self, result: int) -> None:
            order.append(f"reply {result}")
            super().set_result(result)

    async def double(batch: list[int]) -> list[int | Exception]:
        if 0 in batch:
            raise ZeroDivisionError
        return [2 * one if one != 3 else ValueError() for one in batch]

    def answered(results: Sequence[int | Exception]) -> None:
        order.append("told")
        told.append(list(results))

    coalescer: Coalescer[int, int] = Coalescer(double, max_batch=4, max_in_flight=1, answered=answered)
    replies = [Told() for _ in range(2)]
    for one, reply in zip((1, 3), replies, strict=True):
        coalescer.enqueue(one, reply, Caller())
    assert await replies[0] == 2
    assert isinstance(replies[1].exception(), ValueError)
    assert order == ["reply 2", "told"]
    assert told[0][0] == 2
    with pytest.raises(ZeroDivisionError):
        await coalescer.submit(0)
    assert len(told) == 1
