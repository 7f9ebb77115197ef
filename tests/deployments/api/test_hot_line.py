"""The hottest call without ASGI: what it answers, what it leaves to uvicorn, and how its connections end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest

from recsys.access.api_keys import new_key
from recsys.config.environment import KEYS_VARIABLE
from recsys.config.experiments import Experiment
from recsys.config.security import Security
from recsys.config.serving import Serving
from recsys.datatypes import RecQuery
from recsys.serving.pipeline import Recommender
from tests.support.hot_lines import PATH, HotLines, get, told
from tests.support.served_api import HeldSearches
from tests.support.world import event, eventually


@pytest.fixture
async def make_served(make_world: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    async with contextlib.AsyncExitStack() as started:

        async def make(*, lines: bool = True, keep_alive_s: int = 60, **options: Any) -> HotLines:
            served = HotLines(await make_world(**({"shards": 1} | options)), monkeypatch)
            await started.enter_async_context(served.serve(lines=lines, keep_alive_s=keep_alive_s))
            return served

        yield make


async def test_the_second_request_is_taken_and_answered_as_the_first(make_served):
    """Status, headers and body are those of the way through ASGI."""
    served = await make_served()
    await served.world.gateway.record([event("u", "sea-1"), event("u", "sea-2")])
    await served.world.counted()
    connection = await served.connect()
    for path in (PATH, f"{PATH}?k=3&include_seen=true", f"{PATH}?explain=true", "/v1/users/a%2Fb%20c/recommendations"):
        by_asgi = await (await served.connect()).ask(get(path))
        await connection.ask(get())
        served.taken.clear()
        by_line = await connection.ask(get(path))
        assert len(served.taken) == 1
        assert by_line[0] == 200
        assert told(by_line) == told(by_asgi)
        assert by_line[1].keys() == by_asgi[1].keys()


async def test_an_event_is_in_the_very_next_answer(make_served):
    served = await make_served()
    line = await served.line()
    for n in range(12):
        await served.world.gateway.record([event("u", f"sea-{n}")])
        items = {item["item_id"] for item in orjson.loads((await line.ask(get()))[2])["items"]}
        assert f"sea-{n}" not in items
    assert len(served.taken) == 12


async def test_taken_answers_are_logged_and_counted(make_served):
    served = await make_served()
    line = await served.line()
    logged = len(served.world.gateway.answers)
    for _ in range(3):
        await line.ask(get())
    assert len(served.world.gateway.answers) == logged + 3


OTHERS = [
    get(f"{PATH}?page=first"),
    get(f"{PATH}?explain=full&k=2"),
    get(f"{PATH}?why_not=sea-1"),
    get(f"{PATH}?colour=red"),
    get(f"{PATH}?k=0"),
    get("/v1/users/u%FF/recommendations"),
    get("/v1/users/u/events"),
    get("/v1/users//recommendations"),
    get(PATH, host="example.org"),
    get(PATH, "Accept: */*"),
    get(PATH, "accept:*/*"),
    get(PATH, "accept: "),
    get(PATH, "connection: close"),
    get(PATH, "content-length: 0"),
    get(PATH, "origin: http://localhost"),
    get(PATH, "x-api-key: a", "x-api-key: b"),
    get(PATH, "x-request-id: r-2"),
    get(PATH).replace(b"HTTP/1.1", b"HTTP/1.0"),
    get(PATH).replace(b"GET", b"HEAD"),
    get(PATH).replace(b"x-request-id: r-1\r\n", b""),
    get(PATH).replace(b"\r\n", b"\n"),
    b"GET " + PATH.encode() + b" HTTP/1.1\r\nbad header\r\n\r\n",
    get("/v1/users/" + 200 * "x" + "/recommendations"),
]


async def test_everything_else_goes_to_uvicorn_as_it_came(make_served, subtests):
    """It is answered on a hot line as on a new connection."""
    served = await make_served()
    for request_ in OTHERS:
        with subtests.test(request=request_):
            line, new = await served.line(), await served.connect()
            served.taken.clear()
            for connection in (line, new):
                connection.writer.write(request_)
            if request_.startswith(b"HEAD") or b"bad header" in request_ or b"\r" not in request_:
                first, second = [(await asyncio.wait_for(c.reader.readline(), 30)) for c in (line, new)]
                assert first == second
            else:
                first, second = told(await line.answer()), told(await new.answer())
                assert first[:2] == second[:2]
                assert first[2].keys() == second[2].keys()
                assert first[2].get("detail") == second[2].get("detail")
            assert served.taken == []


async def test_requests_in_pieces_and_behind_one_another_are_all_answered_in_order(make_served):
    """Wherever the stream is cut, and whatever stands before: uvicorn's parser is never left with half a request."""
    served = await make_served()
    body = b'{"user_id": "p", "k": 2}'
    post = b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    post += b"content-length: %d\r\n\r\n" % len(body) + body
    short = get(f"{PATH}?k=1")
    stream, expected = short + post + short + short, [1, 2, 1, 1]
    for cut in [1, 2, 30, len(short) - 1, len(short), len(short) + 1, len(short + post) - 3, len(short + post) + 5]:
        line = await served.line()
        line.writer.write(stream[:cut])
        await asyncio.sleep(0.01)
        line.writer.write(stream[cut:])
        lengths = [len(orjson.loads((await line.answer())[2])["items"]) for _ in expected]
        assert lengths == expected, cut
        served.taken.clear()
        await line.ask(short)  # the line is a hot one again
        await line.ask(short)
        assert served.taken
        line.writer.close()


async def test_the_rest_of_a_body_is_no_request(make_served):
    """A POST that is refused before its body has come: what its body holds is never answered."""
    served = await make_served()
    line = await served.line()
    served.taken.clear()
    head = b"POST /v1/recommendations HTTP/1.1\r\nhost: example.org\r\ncontent-length: %d\r\n\r\n" % len(get())
    assert (await line.ask(head))[0] == 421
    line.writer.write(get())
    line.writer.write(get(f"{PATH}?k=2"))
    status, _, content = await line.answer()
    assert (status, len(orjson.loads(content)["items"])) == (200, 2)


async def test_who_needs_a_key_is_asked_for_it_on_a_hot_line(make_served, monkeypatch):
    """Calls with a right key are taken, the others refused; the rate counts."""
    served = await make_served()
    key, digest = new_key()
    entry = {"name": "a", "sha256": digest, "scopes": ["read"], "rate": 0.001, "burst": 3}
    monkeypatch.setenv(KEYS_VARIABLE, orjson.dumps({"keys": [entry]}).decode())
    await served.gate.configure(Security())
    connection = await served.connect()
    statuses = [(await connection.ask(get(PATH, f"authorization: Bearer {key}")))[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert (await connection.ask(get()))[0] == 401
    assert (await connection.ask(get(PATH, "x-api-key: another")))[0] == 401
    assert len(served.taken) == 2


async def test_a_full_platform_says_so_on_a_hot_line(make_served):
    """429 with Retry-After from the line itself, and the other answers come all the same."""
    served = await make_served(serving=Serving(budget_s=20, max_waiting=1))
    lines, held = [await served.line() for _ in range(6)], HeldSearches(served.world)
    answers = []
    for n, line in enumerate(lines):
        answers.append(asyncio.create_task(line.ask(get(f"/v1/users/{n}/recommendations"))))
        if n < 2:  # as many searches as may be under way, and one more request that waits
            assert await eventually(lambda n=n: held.waiting == n + 1)
    assert await eventually(lambda: sum(answer.done() for answer in answers) == 3)
    for status, headers, content in [answer.result() for answer in answers if answer.done()]:
        assert (status, headers["retry-after"], orjson.loads(content)["code"]) == (429, "1", "overloaded")
        assert orjson.loads(content)["request_id"] == "r-1"
    held.let_go()
    assert sorted([(await answer)[0] for answer in answers]) == [200, 200, 200, 429, 429, 429]
    assert [(await line.ask(get()))[0] for line in lines] == [200] * 6


async def test_a_defect_behind_a_hot_line_is_told_in_words(make_served, monkeypatch):
    served = await make_served()
    line = await served.line()

    async def broken(*_: Any) -> Any:
        raise ZeroDivisionError("x")

    with monkeypatch.context() as patched:
        patched.setattr(Recommender, "recommend_many", broken)
        status, _, content = await line.ask(get())
    assert (status, orjson.loads(content)["code"]) == (500, "internal")
    assert "ZeroDivisionError" not in content.decode()
    assert (await line.ask(get()))[0] == 200


async def test_an_experiment_is_answered_on_a_hot_line(make_served):
    """What needs more than a flight is answered and logged as through ASGI, once."""
    served = await make_served()
    gateway = served.world.gateway
    experiment = Experiment(name="e", variants={"control": {}, "other": {"settings": {"diversity": 0.5}}})
    await gateway.experiments.start("home", experiment, "a")
    assert (await gateway.recommend(RecQuery(k=1, user_id="u"))).variant
    line = await served.line()
    served.taken.clear()
    logged = len(gateway.answers)
    assert (await line.ask(get()))[0] == 200
    assert served.taken == ["u"]
    assert len(gateway.answers) == logged + 1


async def test_a_quiet_line_is_closed(make_served):
    """After the time that uvicorn gives to connections, whoever answered last."""
    served = await make_served(keep_alive_s=1)
    for last in (get(), get("/healthz")):
        line = await served.line()
        await line.ask(get())
        await line.ask(last)
        assert await line.ended()


async def test_what_is_owed_is_answered_before_the_server_stops(make_served):
    """The answer says that the connection ends, and it does; lines without a request end at once."""
    served = await make_served()
    line, quiet = await served.line(), await served.line()
    held = HeldSearches(served.world)
    line.writer.write(get())
    assert await eventually(lambda: held.waiting == 1)
    served.server.should_exit = True
    assert await quiet.ended()
    held.let_go()
    status, headers, _ = await line.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert await line.ended()


async def test_another_server_is_left_alone(make_served):
    """Behind uvicorn's other parser there are no hot lines."""
    served = await make_served(lines=False)
    line = await served.line()
    assert (await line.ask(get()))[0] == 200
    assert served.taken == []
