"""Messages between composer and shard as bytes: MessagePack, with arrays as dtype, shape and raw memory.

Every message is checked against the type that it is to become: msgspec checks the fields, and this module the dtype and
the shape of each array. A message that does not fit raises msgspec.ValidationError, which names the field, and builds
nothing. The number of this format is `membership.WIRE`: composers call only replicas that announce the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np

from recsys.datatypes import Filter, Floats, Item
from recsys.shard.candidates import NUMBERS, CandidateSet, ShardQuery
from recsys.shard.sources import COLUMNS
from recsys.shard.trail_measures import LIKENESS

SEARCH, VECTORS, ITEMS, PAGE = range(1, 5)
"""Methods of a shard."""


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


encode = msgspec.msgpack.Encoder(enc_hook=_array_out).encode
decode_lookup = msgspec.msgpack.Decoder(Lookup).decode
decode_page = msgspec.msgpack.Decoder(Page).decode
decode_items = msgspec.msgpack.Decoder(list[Item]).decode
_query = msgspec.msgpack.Decoder(ShardQuery, dec_hook=_array_in).decode
_candidates = msgspec.msgpack.Decoder(CandidateSet, dec_hook=_array_in).decode
_item_vectors = msgspec.msgpack.Decoder(ItemVectors, dec_hook=_array_in).decode

_QUERY_ARRAYS = (
    "vectors", "vector_request", "vector_role", "vector_source", "vector_k", "trail", "trail_weights", "trail_offsets",
    "column_k", "exclude", "exclude_offsets",
)  # fmt: skip
_query_shapes = attrgetter(*(f"{name}.shape" for name in _QUERY_ARRAYS))
_CANDIDATE_ARRAYS = (
    "keys", "offsets", "sources", "likeness", "columns", "sketches", "groups", "twins", "matches", "ids.blob",
    "ids.offsets", "titles.blob", "titles.offsets",
)  # fmt: skip
_candidate_shapes = attrgetter(*(f"{name}.shape" for name in _CANDIDATE_ARRAYS))


def decode_query(payload: bytes) -> ShardQuery:
    """Raises msgspec.ValidationError for anything else than a ShardQuery with the shapes that its docstring names."""
    query = _query(payload)
    shapes = _query_shapes(query)
    vectors, likes, requests = (len(query.vectors),), (query.trail.size,), len(query.filters)
    ends = (requests + 1,)
    columns, exclude = (requests, len(COLUMNS)), (query.exclude.size,)
    wide = (*vectors, shapes[0][-1])
    expected = (wide, vectors, vectors, vectors, vectors, likes, likes, ends, columns, exclude, ends)
    if shapes != expected:
        raise _misfit(_QUERY_ARRAYS, shapes, expected)
    if len(query.asked) != requests:
        raise msgspec.ValidationError(f"asked has {len(query.asked)} entries, and filters has {requests}")
    if len(query.recall_floors) not in {0, requests}:
        given = len(query.recall_floors)
        raise msgspec.ValidationError(f"recall_floors has {given} entries, and filters has {requests}")
    return query


def decode_candidates(payload: bytes) -> CandidateSet:
    """Raises msgspec.ValidationError for anything else than a CandidateSet with the shapes that its docstring names."""
    answer = _candidates(payload)
    shapes = _candidate_shapes(answer)
    size = answer.keys.size
    n, strings, likeness, columns = (size,), (size + 1,), (size, LIKENESS), (size, NUMBERS)
    sketches, groups, matches = (size, shapes[5][-1]), (size, shapes[6][-1]), (size, shapes[8][-1])
    offsets, ids, titles = (answer.offsets.size,), (answer.ids.blob.size,), (answer.titles.blob.size,)
    expected = (n, offsets, n, likeness, columns, sketches, groups, n, matches, ids, strings, titles, strings)
    if shapes != expected:
        raise _misfit(_CANDIDATE_ARRAYS, shapes, expected)
    return answer


def decode_vectors(payload: bytes) -> ItemVectors:
    """Raises msgspec.ValidationError for anything else than (n,) ids and their (n, d) float32 vectors."""
    answer = _item_vectors(payload)
    shape = answer.vectors.shape
    if shape != (expected := (len(answer.item_ids), shape[-1])):
        raise _misfit(("vectors",), (shape,), (expected,))
    return answer


def _misfit(names: Sequence[str], shapes: Sequence[object], expected: Sequence[object]) -> msgspec.ValidationError:
    """The error about the first array whose shape is another than expected."""
    name, shape, required = next(row for row in zip(names, shapes, expected, strict=True) if row[1] != row[2])
    return msgspec.ValidationError(f"the array has shape {shape} and has to have {required} - at `$.{name}`")
