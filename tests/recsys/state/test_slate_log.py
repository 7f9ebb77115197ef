"""The log of answers and outcomes in Redis: what an entry holds, how many wait, who its users are, how it is read."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.outcomes.tables import answers_table, outcomes_table
from recsys.state import redis_keys, slate_stream
from recsys.state.slate_columns import Answer, encode_answers
from recsys.state.slate_log import ERASED_S, Entry, SlateLog
from recsys.state.slate_stream import SlateStream, StreamEntry, entry_of
from recsys.state.users import Counted, UserStore
from tests.support.slate_log import answer
from tests.support.world import NOW, event, eventually


@pytest.fixture
def log(redis):
    return SlateLog(redis, most=100, token_s=3600)


async def written(log, *answers: Answer, number=1, lost=0, writer="w", now=NOW):
    [taken] = await log.write(writer, number, [Entry.of(answers)], lost, now)
    return taken


async def entries(redis, stream=redis_keys.ANSWERS) -> list[StreamEntry]:
    return [entry_of(at.decode(), fields) for at, fields in await redis.xrange(stream)]


async def tokens(redis, stream=redis_keys.ANSWERS) -> list[bytes]:
    return [e.users[i : i + 8] for e in await entries(redis, stream) for i in range(0, len(e.users), 8)]


IDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=5)


GIVEN = st.tuples(IDS, st.lists(IDS, max_size=4, unique=True), st.sampled_from(["home", "search"]))


@given(st.lists(GIVEN, max_size=5))
def test_an_entry_holds_the_answers_that_were_encoded(given_answers):
    """Items, ranks, scores, sources and chances of each, also of answers without items."""
    answers = [answer(request, items, scenario=scenario) for request, items, scenario in given_answers]
    answers.append(answer("last", ["a", "b"], user=None, version="v2", variant="b", propensities=(0.25, 1.0)))
    users = b"\1" * 8 * (len(answers) - 1) + bytes(8)
    table = answers_table([StreamEntry("5-0", len(answers), 3, users, encode_answers(answers))])
    assert table.column("request_id").to_pylist() == [a.query.request_id for a in answers]
    assert table.column("items").to_pylist() == [[i.item_id for i in a.slate.items] for a in answers]
    assert table.column("sources").to_pylist() == [[i.source for i in a.slate.items] for a in answers]
    assert table.column("scenario").to_pylist() == [a.query.scenario for a in answers]
    scores = [[pytest.approx(i.score) for i in a.slate.items] for a in answers]
    assert table.column("scores").to_pylist() == scores
    ones = [[1.0] * len(a.slate.items) for a in answers[:-1]]
    assert table.column("propensities").to_pylist() == [*ones, [0.25, 1.0]]
    assert table.column("user").to_pylist() == ["01" * 8] * (len(answers) - 1) + [None]
    assert table.column("lost").to_pylist() == [3] + [0] * (len(answers) - 1)
    last = table.slice(len(answers) - 1).to_pylist()[0]
    assert (last["version"], last["variant"], last["moment"].timestamp()) == ("v2", "b", pytest.approx(NOW, abs=1e5))


def shown(request_id: str, items: list[str], drawn: bool, interleaved: bool, **given_otherwise) -> Answer:
    """With chances and teams of its items, or without."""
    n = len(items)
    chances, teams = (0.5,) * n if drawn else None, tuple(range(n)) if interleaved else None
    return answer(request_id, items, propensities=chances, teams=teams, **given_otherwise)


ANSWERS = st.lists(
    st.builds(
        shown, IDS, st.lists(IDS, max_size=3, unique=True), st.booleans(), st.booleans(),
        scenario=st.sampled_from(["home", "search"]), variant=st.sampled_from(["", "b"]),
        user=st.sampled_from([None, "u"]),
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@given(st.lists(st.tuples(ANSWERS, st.integers(0, 2)), max_size=4))
def test_entries_together_have_the_rows_that_each_has(written_answers):
    """Whatever the others hold: sources have numbers of each entry's own, and columns that it lacks are others'."""
    each = [
        StreamEntry(f"{n}-0", len(answers), lost, b"".join([bytes([n] * 8) for _ in answers]), encode_answers(answers))
        for n, (answers, lost) in enumerate(written_answers)
    ]
    together = answers_table(each)
    together.validate(full=True)
    assert together.to_pylist() == [row for entry in each for row in answers_table([entry]).to_pylist()]
    assert together.column("lost").to_pylist() == [
        0 if n else lost for answers, lost in written_answers for n in range(len(answers))
    ]


async def test_a_write_that_is_repeated_is_one_entry(log, redis):
    """The composer does not know whether the first try came through."""
    for _ in range(2):
        assert await written(log, answer("r1", ["a"]))
    assert await written(log, answer("r2", ["a"]), number=2)
    assert [entry.rows for entry in await entries(redis)] == [1, 1]
    assert await written(log, answer("r1", ["a"]), writer="another")
    assert len(await entries(redis)) == 3


async def test_what_there_is_no_room_for_is_counted_and_told_by_the_next_entry(redis):
    """Of answers, and of outcomes whichever way they come."""
    log = SlateLog(redis, most=2, token_s=3600)
    assert await written(log, answer("r1", []), answer("r2", []))
    assert not await written(log, answer("r3", []), number=2, lost=4)
    await SlateStream(redis, redis_keys.ANSWERS).drop(slate_stream.Slot(int(time.time() * 1000), await entries(redis)))
    assert await written(log, answer("r4", []), number=3, lost=2)
    assert [(e.rows, e.lost) for e in await entries(redis)] == [(1, 7)]

    store = UserStore(redis, ttl_s=60, history=10, log=log)
    named = [event("u", f"i{n}", request_id="r") for n in range(3)]
    for one in named:
        await store.append({"u": [Counted(one, 1.0)]}, "v1", None)
    assert len((await store.histories(["u"]))[0]) == 3
    await log.tell([named[0]] * 2)
    assert [(e.rows, e.lost) for e in await entries(redis, redis_keys.OUTCOMES)] == [(1, 0), (1, 0)]
    assert await redis.hget(redis_keys.waiting(redis_keys.OUTCOMES), "lost") == b"3"


async def test_an_event_that_names_an_answer_is_logged_with_the_history_and_once(redis):
    """Sent again it is no outcome; one without a request_id never is; one call is one entry."""
    store = UserStore(redis, ttl_s=60, history=10, log=SlateLog(redis, most=100, token_s=60))
    events = [event("u", "a", request_id="r", value=2.5), event("u", "b"), event("u", "c", request_id="r")]
    for _ in range(2):
        await store.append({"u": [Counted(e, 1.0) for e in events]}, "v1", None)
    [entry] = await entries(redis, redis_keys.OUTCOMES)
    rows = outcomes_table([entry]).to_pylist()
    assert [(r["event_id"], r["item_id"], r["value"]) for r in rows] == [
        (events[0].event_id, "a", 2.5), (events[2].event_id, "c", None),
    ]  # fmt: skip
    assert {r["request_id"] for r in rows} == {"r"}


async def test_a_token_stands_for_a_user_until_the_user_is_erased(log, redis):
    """In answers and outcomes alike, and nothing of the log says who it is. Nobody has zeros."""
    store = UserStore(redis, ttl_s=60, history=10, log=log)
    await written(log, answer("r1", ["a"]), answer("r2", ["a"], user=None), answer("r3", ["a"], user="v"))
    await store.append({"u": [Counted(event("u", "a", request_id="r1"), 1.0)]}, "v1", None)
    u, nobody, v = await tokens(redis)
    assert len({u, v}) == 2
    assert nobody == bytes(8)
    assert await tokens(redis, redis_keys.OUTCOMES) == [u]
    assert await redis.get(redis_keys.token("u")) == u

    await store.erase("u")
    await written(log, answer("r1", ["a"]), answer("r1", ["a"]), number=2)
    later = (await tokens(redis))[3:]
    assert len({u, v, *later}) == 4
    assert await redis.get(redis_keys.token("u")) == b"erased"
    assert 0 < await redis.ttl(redis_keys.token("u")) <= ERASED_S
    assert await redis.get(redis_keys.token("v")) == v


async def test_an_answer_that_waited_for_long_is_logged_without_a_user(log, redis):
    """An erasure that came meanwhile might be forgotten."""
    await written(log, answer("r1", ["a"]), now=NOW + 301)
    assert await tokens(redis) == [bytes(8)]


async def test_a_slot_is_read_whole_once_it_is_over(log, redis, short_slots):
    """Nothing is read before; what is written later goes behind it, and dropping it twice drops nothing else."""
    stream = SlateStream(redis, redis_keys.ANSWERS)
    assert await stream.oldest() is None
    for number in range(1, 121):
        await written(log, answer(f"r{number}", []), number=number) if number <= 100 else None
    seen = []
    while (slot := await eventually(stream.oldest)) is not None and slot:
        await written(log, answer("later", []), number=1000 + slot.begins_ms, writer="later")
        seen += [entry.id for entry in slot.entries]
        await stream.drop(slot)
        await stream.drop(slot)
        if len(seen) >= 100:
            break
    left = [entry.id for entry in await entries(redis)]
    assert len(seen) == len(set(seen))
    assert not set(seen) & set(left)
    waiting = await redis.hget(redis_keys.waiting(redis_keys.ANSWERS), "rows")
    assert int(waiting) == len(left)


async def test_a_clock_that_is_set_back_adds_nothing_to_a_slot_that_was_read(log, redis, short_slots):
    """The stream is told that its next id lies behind the slot."""
    await written(log, answer("r1", []))
    slot = await eventually(SlateStream(redis, redis_keys.ANSWERS).oldest)
    end = slot.begins_ms + slate_stream.SLOT_MS
    with pytest.raises(Exception, match="equal or smaller"):
        await redis.xadd(redis_keys.ANSWERS, {"rows": 1}, id=f"{end - 1}-5")
    assert int((await redis.xadd(redis_keys.ANSWERS, {"rows": 1})).split(b"-")[0]) >= end


async def test_of_two_readers_of_a_slot_the_later_one_reads_nothing(log, redis, short_slots):
    """It has been dropped as a whole meanwhile, and half a slot is never taken for one."""
    await written(log, answer("r1", []))
    stream = SlateStream(redis, redis_keys.ANSWERS)
    one, other = await asyncio.gather(eventually(stream.oldest), eventually(stream.oldest))
    assert one == other
    await stream.drop(one)
    assert await stream.oldest() is None
