"""The direct line between composer and shard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from recsys import wire
from recsys.candidates import CandidateSet
from recsys.channel import Channel, ChannelServer
from recsys.datatypes import Item, StringColumn
from recsys.errors import Unavailable
from recsys.evaluation import nearest_query
from recsys.filters import Condition, Filter
from recsys.membership import Member
from recsys.remote import DirectShard

SECRET = b"s" * 32


async def _handler(method: int, payload: bytes) -> bytes:
    if method == 9:
        raise ValueError("no such thing")
    await asyncio.sleep(payload[0] / 1000)  # later calls may overtake
    return bytes([method]) + payload


@pytest.fixture
async def server() -> AsyncIterator[ChannelServer]:
    server = await ChannelServer.start("127.0.0.1", _handler, SECRET)
    yield server
    server.stop()


async def test_calls_get_their_own_answers(server: ChannelServer) -> None:
    """Many calls at a time over one connection, answered out of order, each to its caller."""
    channel = Channel(server.address, SECRET)
    payloads = [bytes([50 - i, i]) for i in range(50)]
    answers = await asyncio.gather(*(channel.call(3, p) for p in payloads))
    assert answers == [b"\x03" + p for p in payloads]
    assert channel.under_way == 0
    channel.close()


async def test_a_large_payload_arrives_whole(server: ChannelServer) -> None:
    """Five megabytes cross in many reads and come back the same."""
    channel = Channel(server.address, SECRET)
    payload = b"\x00" + np.random.default_rng(1).bytes(5_000_000)
    assert await channel.call(1, payload) == b"\x01" + payload
    channel.close()


async def test_an_error_travels_as_text(server: ChannelServer) -> None:
    """The caller gets the replica's words, and the line stays open for others."""
    channel = Channel(server.address, SECRET)
    with pytest.raises(Unavailable, match="ValueError: no such thing"):
        await channel.call(9, b"\x00")
    assert await channel.call(1, b"\x00") == b"\x01\x00"
    channel.close()


async def test_without_the_secret_nothing_is_read() -> None:
    """A client with another secret is cut off before its first call reaches the handler."""
    reached = []

    async def handler(method: int, payload: bytes) -> bytes:
        reached.append(method)
        return payload

    server = await ChannelServer.start("127.0.0.1", handler, SECRET)
    channel = Channel(server.address, b"x" * 32)
    with pytest.raises(OSError):
        await channel.call(1, b"\x00")
    assert reached == []
    server.stop()


async def test_a_lost_connection_fails_its_calls_and_is_made_anew() -> None:
    """What was under way raises ConnectionResetError; the next call connects again."""
    server = await ChannelServer.start("127.0.0.1", _handler, SECRET)
    channel = Channel(server.address, SECRET)
    slow = asyncio.create_task(channel.call(1, b"\xff"))
    await asyncio.sleep(0.05)
    channel.close()
    with pytest.raises(ConnectionResetError):
        await slow
    assert await channel.call(2, b"\x00") == b"\x02\x00"
    channel.close()
    server.stop()


async def test_garbage_of_the_right_length_is_no_frame(server: ChannelServer) -> None:
    """A frame that claims gigabytes closes the connection instead of filling memory."""
    channel = Channel(server.address, SECRET)
    await channel.call(1, b"\x00")
    end = channel._end
    assert end is not None
    assert end.transport is not None
    end.transport.write(b"\xff" * 13)
    with pytest.raises(ConnectionResetError):
        await channel._end.call(1, b"\x00")


def test_a_query_crosses_unchanged() -> None:
    """Arrays keep shape, dtype and values; filters keep their types."""
    asked = nearest_query("v1", np.random.default_rng(2).random((3, 8), np.float32), 5)
    condition = Condition("year", "range", low=1990.0, low_open=True)
    query = type(asked)(
        **{f: getattr(asked, f) for f in asked.__slots__}
        | {
            "filters": (None, Filter(must=(condition,)), Filter(should=(Condition("g", "any", ("a", 2.0)),))),
            "asked": ((), ("é/1",), ()),
        }
    )
    crossed = wire.decode_query(wire.encode(query))
    for name in query.__slots__:
        mine, theirs = getattr(query, name), getattr(crossed, name)
        if isinstance(mine, np.ndarray):
            assert theirs.dtype == mine.dtype
            np.testing.assert_array_equal(theirs, mine)
        else:
            assert theirs == mine


def test_items_and_empty_answers_cross() -> None:
    """An answer without candidates, and an item with every kind of attribute."""
    none = CandidateSet(
        offsets=np.zeros(2, np.int64),
        keys=np.zeros(0, np.uint64),
        sources=np.zeros(0, np.int64),
        likeness=np.zeros((0, 5), np.float32),
        columns=np.zeros((0, 3)),
        ids=StringColumn.of([]),
        titles=StringColumn.of([]),
        sketches=np.zeros((0, 0), np.int8),
        groups=np.zeros((0, 0), np.uint64),
        top_count=0.0,
    )
    crossed = wire.decode_candidates(wire.encode(none))
    assert crossed.likeness.shape == (0, 5)
    assert len(crossed.ids) == 0
    item = Item("i", "t", "x", {"k": "v", "n": 1.5, "l": ["a", "b"]}, 12.0)
    assert wire.decode_items(wire.encode([item])) == [item]


def test_a_malformed_message_builds_nothing() -> None:
    """Bytes that are no query raise a validation error and nothing else."""
    with pytest.raises(Exception, match=r"(?i)expected|truncated|malformed"):
        wire.decode_query(b"\x93\x01\x02\x03")


async def test_the_fallback_answers_when_no_channel_does() -> None:
    """An address where nobody listens, and no address at all, both lead to the other way."""

    class Fallback:
        async def search(self, query):
            raise NotImplementedError

        async def vectors(self, version, item_ids):
            return tuple(item_ids), np.ones((len(item_ids), 2), np.float32)

        async def items(self, version, item_ids):
            return [Item(i, "t") for i in item_ids]

    dead = Member(role="shard", id="r", shard=0, versions={"v": "0-0"}, address="127.0.0.1:1")
    for members in ([dead], []):
        shard = DirectShard(0, lambda members=members: members, SECRET, Fallback())
        assert await shard.items("v", ["a"]) == [Item("a", "t")]
        assert (await shard.vectors("v", ["a"]))[0] == ("a",)
