"""A user's history as Redis holds it, and the order of its events."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec

from recsys.datatypes import Interaction
from recsys.state.packed_ids import unpack_id
from recsys.state.tie_breaking import tie


class StoredEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as it stands in the history: its fields as MessagePack, one after another. User and event_id are in the
    key and the field's name. The scripts read the first two.
    """

    item_id: str
    timestamp: float
    type: str
    value: float | None
    request_id: Any
    """str, bytes (see `pack_id`) or None: of texts and bytes, msgspec's types allow one."""
    call: str
    """Names the call that brought it. Last, so that the script can compare it without reading the others."""


log = logging.getLogger(__name__)
_write = msgspec.msgpack.Encoder().encode
_read = msgspec.msgpack.Decoder(StoredEvent).decode
_ARRAY = msgspec.msgpack.encode([None] * len(StoredEvent.__struct_fields__))[:1]
"""What MessagePack writes in front of an array of so many."""


def write_event(event: StoredEvent) -> bytes:
    # Redis' Lua reads the first of several values, but no array that has binary data in it.
    return _write(event)[1:]


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A user's history as Redis holds it, with a sequence whose events are all in it."""

    user_id: str
    sequence: int
    fields: Mapping[bytes, bytes]
    cut: bool
    """Whether it is as long as it may be, and older events have left it."""

    def __len__(self) -> int:
        return len(self.fields)

    def events(self) -> list[Interaction]:
        """Oldest first; events of the same moment in the order of `in_order`.

        Events that cannot be read are left out: earlier releases wrote them in another form, and one user's event must
        not cost the others of a batch their profiles.
        """
        events = []
        for event_id, document in self.fields.items():
            try:
                stored = _read(_ARRAY + document)
            except msgspec.DecodeError:
                continue
            request = stored.request_id
            fields = (stored.item_id, stored.type, stored.timestamp, stored.value)
            named = unpack_id(request) if isinstance(request, bytes) else request
            events.append(Interaction(unpack_id(event_id), self.user_id, *fields, named))
        if len(events) < len(self.fields):
            log.warning("%d events of a user cannot be read, and are left out", len(self.fields) - len(events))
        return ordered(events)


def ordered(events: Sequence[Interaction]) -> list[Interaction]:
    """One user's events as `in_order` sorts them."""
    # To hash every event would be a tenth of a rebuild, and most events have a time of their own.
    tied = len({event.timestamp for event in events}) < len(events)
    return sorted(events, key=in_order if tied else attrgetter("timestamp"))


def in_order(event: Interaction) -> tuple[float, str]:
    """Sort key of a history, whatever the order in which its events came.

    By time, then by a hash of user and item (see `tie_breaking.py`), then by event_id.
    """
    return (event.timestamp, f"{tie(event.user_id, event.item_id):016x}{event.event_id}")
