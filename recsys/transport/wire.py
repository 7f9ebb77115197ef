"""Messages between composer and shard as bytes: MessagePack, with arrays as their raw memory.

msgspec checks every message against the dataclass it is to become, so a malformed one raises and builds nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from recsys.datatypes import Item
from recsys.shard.candidates import CandidateSet, ShardQuery

SEARCH, VECTORS, ITEMS = range(1, 4)
"""Methods of a shard."""


class Lookup(msgspec.Struct, frozen=True, array_like=True):
    """Ask for items, or for their vectors."""

    version: str
    item_ids: list[str]


class Found(msgspec.Struct, frozen=True, array_like=True):
    """(n,) ids and their (n, d) float32 vectors."""

    item_ids: tuple[str, ...]
    vectors: np.ndarray


def _array_out(value: object) -> object:
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, np.ascontiguousarray(value).data.cast("B") if value.size else b"")
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"{type(value)} does not travel")


def _array_in(kind: Any, value: Any) -> Any:
    if kind is np.ndarray or getattr(kind, "__origin__", None) is np.ndarray:
        dtype, shape, memory = value
        return np.frombuffer(memory, np.dtype(dtype)).reshape(shape)
    raise NotImplementedError(f"{kind} does not travel")


_encoder = msgspec.msgpack.Encoder(enc_hook=_array_out)
encode = _encoder.encode
decode_query = msgspec.msgpack.Decoder(ShardQuery, dec_hook=_array_in).decode
decode_candidates = msgspec.msgpack.Decoder(CandidateSet, dec_hook=_array_in).decode
decode_lookup = msgspec.msgpack.Decoder(Lookup).decode
decode_found = msgspec.msgpack.Decoder(Found, dec_hook=_array_in).decode
decode_items = msgspec.msgpack.Decoder(list[Item]).decode
