"""Messages between composer and shard as bytes: MessagePack, with arrays as dtype, shape and raw memory.

A search's question and answer have their arrays behind one another, see `columnar.py`. Every message is checked against
the type that it is to become: msgspec checks the fields, and this room the dtype and the shape of each array. A message
that does not fit raises msgspec.ValidationError, which names the field, and builds nothing. The number of this format
is `membership.WIRE`: composers call only replicas that announce the same one.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
import numpy as np

from recsys.datatypes import Filter, Floats, Item
from recsys.shard.candidates import NUMBERS, CandidateSet, ShardQuery
from recsys.shard.short_query import ShortQuery
from recsys.shard.sources import COLUMNS
from recsys.shard.trail_measures import LIKENESS
from recsys.transport.columnar import Columnar, Shapes, misfit

SEARCH, VECTORS, ITEMS, PAGE = range(1, 5)
"""Methods of a shard."""

UNTOLD = b""
"""The answer to a search that names what the shard was not told, see `shard/told_profiles.py`."""


class Lookup(msgspec.Struct, frozen=True, array_like=True):
    """Ask for items, or for their vectors."""

    version: str
    item_ids: list[str]


class Page(msgspec.Struct, frozen=True, array_like=True):
    """Ask for items one page after another, see `shard/listing.py`."""

    version: str
    after: str | None
    limit: int
    filter: Filter | None


class ItemVectors(msgspec.Struct, frozen=True, array_like=True):
    """(n,) ids and their (n, d) float32 vectors."""

    item_ids: tuple[str, ...]
    vectors: Floats


_DTYPES = {scalar: (np.dtype(scalar), np.dtype(scalar).str)
           for scalar in (np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64)}  # fmt: skip
"""What an annotation names -> the dtype, and how it is written in a message."""


def _array_out(value: object) -> object:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, np.ascontiguousarray(value).data.cast("B") if value.size else b"")
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value)} does not travel")


def _array_in(kind: Any, value: Any) -> Any:
    """The array of a field that is annotated `NDArray[scalar]`. msgspec adds the field's name to what this raises."""
    if getattr(kind, "__origin__", None) is not np.ndarray:
        raise NotImplementedError(f"{kind} does not travel")
    dtype, text = _DTYPES[kind.__args__[1].__args__[0]]
    sent, shape, memory = value
    if sent != text:
        raise ValueError(f"the array is {sent!r} and has to be {text!r} ({dtype})")
    if not shape:
        raise ValueError("the array has no dimension")
    return np.frombuffer(memory, dtype).reshape(shape)


_encode = msgspec.msgpack.Encoder(enc_hook=_array_out).encode
decode_lookup = msgspec.msgpack.Decoder(Lookup).decode
decode_page = msgspec.msgpack.Decoder(Page).decode
decode_items = msgspec.msgpack.Decoder(list[Item]).decode
_item_vectors = msgspec.msgpack.Decoder(ItemVectors, dec_hook=_array_in).decode


def _fit_query(head: Any) -> Shapes:
    """The shapes that the docstring of ShardQuery names. Raises msgspec.ValidationError for fields of other lengths."""
    requests = len(head.filters)
    if len(head.asked) != requests:
        raise msgspec.ValidationError(f"asked has {len(head.asked)} entries, and filters has {requests}")
    if len(head.recall_floors) not in {0, requests}:
        given = len(head.recall_floors)
        raise msgspec.ValidationError(f"recall_floors has {given} entries, and filters has {requests}")
    request, _, _, _, trail, _, _, exclude, _, names, vectors, _ = head.shapes
    one, likes, ends = request[:1], trail[:1], (requests + 1,)
    columns = (requests, len(COLUMNS))
    named = (requests if names[0] else 0, 3)
    return (one, one, one, one, likes, ends, columns, exclude[:1], ends, named, (*one, vectors[-1]), likes)


def _fit_candidates(head: Any) -> Shapes:
    """The shapes that the docstring of CandidateSet names."""
    offsets, keys, _, _, _, _, groups, _, _, ids, titles, sketches, matches = head.shapes
    n, strings = keys[:1], (keys[0] + 1,)
    columns, likeness = (*n, NUMBERS), (*n, LIKENESS)
    blobs, codes = (ids[:1], titles[:1]), ((*n, sketches[-1]), (*n, matches[-1]))
    return (offsets[:1], n, n, columns, strings, strings, (*n, groups[-1]), n, likeness, *blobs, *codes)


_queries = Columnar(
    ShardQuery, _encode, _fit_query, loose=("trend_floor", "left_s", "now"), lasting=("rule_filters",), repeated=True
)
_candidates = Columnar(CandidateSet, _encode, _fit_candidates)


class EncodedQuery:
    """Stands for a question whose bytes are there already: what nobody looks at is never read from them."""

    __slots__ = ("_query", "filters", "payload", "version")

    def __init__(self, payload: bytes, version: str, filters: tuple[Filter | None, ...]) -> None:
        self.payload, self.version, self.filters = payload, version, filters
        self._query: ShardQuery | None = None

    def __getattr__(self, name: str) -> Any:
        if self._query is None:
            self._query = decode_query(self.payload)
        return getattr(self._query, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _decoded, (self.payload,)


def _decoded(payload: bytes) -> ShardQuery:
    return decode_query(payload)


def of_the_moment(payload: bytes, query: ShardQuery, trend_floor: float, left_s: float, now: float) -> ShardQuery:
    """The question `query` that `payload` holds, at another moment."""
    return cast(
        ShardQuery, EncodedQuery(_queries.renewed(payload, trend_floor, left_s, now), query.version, query.filters)
    )


def encode(message: object) -> bytes:
    """A message of any kind."""
    if type(message) is CandidateSet:
        return _candidates.encode(message)
    if type(message) is EncodedQuery:
        return message.payload
    if type(message) is ShortQuery:
        return _queries.encode(message.short)
    return _queries.encode(message) if type(message) is ShardQuery else _encode(message)


decode_query = _queries.decode
"""Raises msgspec.ValidationError for anything else than a ShardQuery with the shapes that its docstring names."""
decode_candidates = _candidates.decode
"""Raises msgspec.ValidationError for anything else than a CandidateSet with the shapes that its docstring names."""


def decode_vectors(payload: bytes) -> ItemVectors:
    """Raises msgspec.ValidationError for anything else than (n,) ids and their (n, d) float32 vectors."""
    answer = _item_vectors(payload)
    shape = answer.vectors.shape
    if shape != (expected := (len(answer.item_ids), shape[-1])):
        raise misfit(("vectors",), (shape,), (expected,))
    return answer
