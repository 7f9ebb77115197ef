"""A user's history as Redis holds it, and the order of its events."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter

import msgspec

from recsys.datatypes import Interaction
from recsys.state.tie_breaking import tie


class StoredEvent(msgspec.Struct, frozen=True, array_like=True):
    """An event as it stands in the history: a JSON array. User and event_id are in the key and the field's name."""

    item_id: str
    type: str
    timestamp: float
    value: float | None
    request_id: str | None
    call: str
    """Names the call that brought it. Last, so that the script can compare it without reading JSON."""


write_event = msgspec.json.Encoder().encode
log = logging.getLogger(__name__)
_read = msgspec.json.Decoder(StoredEvent).decode


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """A user's history as Redis holds it, with a sequence whose events are all in it."""

    user_id: str
    sequence: int
    fields: Mapping[bytes, bytes]
    cut: bool
    """Whether older events have left it, for it is as long as it may be."""

    def __len__(self) -> int:
        return len(self.fields)

    def events(self) -> list[Interaction]:
        """Oldest first; events of the same moment as `in_order` says.

        What cannot be read is left out: earlier releases wrote events in another form, and one user's event must not
        keep all those from their profiles that are rebuilt together with him.
        """
        events = []
        for event_id, document in self.fields.items():
            try:
                kept = _read(document)
            except msgspec.DecodeError:
                continue
            known = (kept.item_id, kept.type, kept.timestamp, kept.value, kept.request_id)
            events.append(Interaction(event_id.decode(), self.user_id, *known))
        if len(events) < len(self.fields):
            log.warning("%d events of a user cannot be read, and are left out", len(self.fields) - len(events))
        # To hash every event would be a tenth of a rebuild, and most events have a time of their own.
        tied = len({event.timestamp for event in events}) < len(events)
        return sorted(events, key=in_order if tied else attrgetter("timestamp"))


def in_order(event: Interaction) -> tuple[float, str]:
    """The order of a history, however its events came: by time, and within the same moment by a hash of user and item
    (see `tie_breaking.py`). The event_id decides between events of one item.
    """
    return (event.timestamp, f"{tie(event.user_id, event.item_id):016x}{event.event_id}")
