"""How answers and outcomes stand in an entry of the log: answers as columns in one encoding, outcomes as lines of JSON.

Ids of items are one text with line breaks between: an id has no control characters. What reads an entry splits the
whole column at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from recsys.answers import Slate
from recsys.datatypes import Interaction, RecQuery

LONGEST_ID = 128
"""Characters of a request's id that are kept: an event cannot name a longer one."""


class Answer(NamedTuple):
    """One answer that was given."""

    at: float
    """Unix seconds."""
    query: RecQuery
    slate: Slate


class AnswerColumns(msgspec.Struct, frozen=True, array_like=True):
    """n answers with m items in all. The bytes are arrays of the machine's own order, which is little on all that run
    this: float64 of times, int32 of counts, float32 of scores and propensities.
    """

    request_ids: list[str]
    at: bytes
    """(n,) float64, Unix seconds."""
    scenarios: list[str]
    versions: list[str]
    variants: list[str]
    counts: bytes
    """(n,) int32, items of each answer."""
    items: str
    """m ids, with line breaks between."""
    scores: bytes
    """(m,) float32."""
    source_names: list[str]
    sources: bytes
    """(m,) uint8, places in `source_names`."""
    propensities: bytes
    """(m,) float32; empty: all are 1."""
    teams: bytes = b""
    """(m,) int8, -1 for items of answers that are not interleaved; empty: none is."""
    contexts: list[str] = []
    """n JSON objects, empty text for an answer without one; an empty list: none has one."""


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """An event that names an answer."""

    event_id: str
    item_id: str
    type: str
    at: float
    """Unix seconds, the event's own time."""
    value: float | None
    request_id: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AnswerColumns).decode
_write = msgspec.json.Encoder().encode
_read_outcomes = msgspec.json.Decoder(list[Outcome]).decode


def encode_answers(answers: Sequence[Answer]) -> bytes:
    items = [item for answer in answers for item in answer.slate.items]
    sources = [item.source for item in items]
    names = {name: place for place, name in enumerate(dict.fromkeys(sources))}
    return _encode(
        AnswerColumns(
            request_ids=[(answer.query.request_id or "")[:LONGEST_ID] for answer in answers],
            at=array("d", [answer.at for answer in answers]).tobytes(),
            scenarios=[answer.query.scenario for answer in answers],
            versions=[answer.slate.index_version for answer in answers],
            variants=[answer.slate.variant for answer in answers],
            counts=array("i", [len(answer.slate.items) for answer in answers]).tobytes(),
            items="\n".join([item.item_id for item in items]),
            scores=array("f", [item.score for item in items]).tobytes(),
            source_names=list(names),
            sources=bytes(map(names.__getitem__, sources)),
            propensities=_propensities(answers),
            teams=_teams(answers),
            contexts=_contexts(answers),
        )
    )


def _propensities(answers: Sequence[Answer]) -> bytes:
    if all(answer.slate.propensities is None for answer in answers):
        return b""
    each = [answer.slate.propensities or (1.0,) * len(answer.slate.items) for answer in answers]
    return array("f", [propensity for one in each for propensity in one]).tobytes()


def _teams(answers: Sequence[Answer]) -> bytes:
    if all(answer.slate.teams is None for answer in answers):
        return b""
    each = [answer.slate.teams or (-1,) * len(answer.slate.items) for answer in answers]
    return array("b", [team for one in each for team in one]).tobytes()


def _contexts(answers: Sequence[Answer]) -> list[str]:
    if not any(answer.query.context for answer in answers):
        return []
    return [_write(answer.query.context).decode() if answer.query.context else "" for answer in answers]


def decode_answers(data: bytes) -> AnswerColumns:
    """Raises msgspec.DecodeError for what is no such entry."""
    return _decode(data)


def encode_outcome(event: Interaction) -> bytes:
    """One line of JSON. The event names an answer."""
    return _write(
        Outcome(event.event_id, event.item_id, event.type, event.timestamp, event.value, event.request_id or "")
    )


def decode_outcomes(lines: bytes) -> list[Outcome]:
    """Of lines of JSON. Raises msgspec.DecodeError."""
    return _read_outcomes(b"[" + lines.replace(b"\n", b",") + b"]")
