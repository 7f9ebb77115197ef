"""Ids that are UUIDs are kept in 17 bytes, and come back as they were written."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.datatypes import Interaction
from recsys.state import redis_keys
from recsys.state.packed_ids import pack_id, unpack_id
from recsys.state.users import Counted, UserStore
from tests.support.user_store import append

UUID = uuid.UUID(int=0x0123456789ABCDEF0123456789ABCDEF)


TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=40)


@given(TEXTS | st.uuids().map(str) | st.uuids().map(lambda one: one.hex))
def test_every_id_comes_back(text):
    """Whatever is packed and whatever is not."""
    packed = pack_id(text)
    assert unpack_id(packed if isinstance(packed, bytes) else packed.encode()) == text


@pytest.mark.parametrize("text", [UUID.hex, str(UUID)])
def test_a_uuid_takes_17_bytes(text):
    """With dashes and without."""
    packed = pack_id(text)
    assert isinstance(packed, bytes)
    assert len(packed) == 17


@pytest.mark.parametrize(
    "text", [UUID.hex.upper(), UUID.urn[9:].upper(), UUID.hex[:-2] + "  ", "g" * 32, UUID.hex[:-1], "-" * 36]
)
def test_what_would_not_come_back_is_kept_as_it_is(text):
    """Digits in uppercase, spaces, and texts that are merely as long."""
    assert pack_id(text) == text


async def test_an_event_with_packed_ids_counts_once_and_can_be_forgotten(redis):
    """Its ids in the history are those that were sent."""
    store = UserStore(redis, ttl_s=1000, history=10)
    sent = [
        Interaction(uuid.uuid4().hex, "u", "a", "like", 1.0, None, str(uuid.uuid4())),
        Interaction(str(uuid.uuid4()), "u", "b", "like", 2.0, None, uuid.uuid4().hex),
        Interaction("e3", "u", "c", "like", 3.0, 4.5, "an answer"),
    ]
    assert (await append(store, *sent)).fresh == tuple(sent)
    assert (await append(store, *sent)).fresh == ()
    assert (await store.histories(["u"]))[0] == sent
    assert await redis.object("encoding", redis_keys.events("u")) == b"listpack"
    assert await store.forget("u", sent[0].event_id, lambda event: Counted(event, 1.0))
    assert (await store.histories(["u"]))[0] == sent[1:]
