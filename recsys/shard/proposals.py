"""What the sources of a shard propose for a batch, and which rows they may propose to whom."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from recsys.datatypes import Filter, Floats, Keys, Rows
from recsys.shard.candidates import contains, tag
from recsys.shard.shard import Shard

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Proposals(msgspec.Struct, frozen=True):
    """(n,) requests, the rows that are proposed to them, and the bits of the source; a pair may come more than once.

    `scores` are (n,) float32 inner products with the vector that the rows are near to. None: there is no such vector,
    or its products are still to be computed.
    """

    requests: Ints
    rows: Rows
    bits: Ints
    scores: Floats | None = None

    @property
    def told(self) -> Floats:
        """(n,) scores; NaN where none is told."""
        return np.full(len(self.rows), np.nan, np.float32) if self.scores is None else self.scores

    @classmethod
    def joined(cls, parts: Sequence[Proposals]) -> Proposals:
        """One behind another. A single part, which is what a plain search has, is not copied."""
        if len(parts) == 1:
            return parts[0]
        none = np.zeros(0, np.int64)
        return cls(
            np.concatenate([none, *(part.requests for part in parts)]),
            np.concatenate([none, *(part.rows for part in parts)]),
            np.concatenate([none, *(part.bits for part in parts)]),
            np.concatenate([part.told for part in parts]) if any(part.scores is not None for part in parts) else None,
        )

    @classmethod
    def of(cls, requests: Ints, rows: Rows, chosen: Bools, bits: Ints, scores: Floats | None = None) -> Proposals:
        """Those of (m, w) rows that are `chosen`, and their scores; row i of the matrix belongs to request requests[i],
        bits[i].
        """
        if np.count_nonzero(chosen) == chosen.size:
            width = chosen.shape[1]
            flat = None if scores is None else scores.ravel()
            return cls(requests.repeat(width), rows.ravel(), bits.repeat(width), flat)
        line, column = chosen.nonzero()
        return cls(requests[line], rows[line, column], bits[line], None if scores is None else scores[line, column])


def eligible(shard: Shard, requests: Ints, rows: Rows, excluded: Keys, given: Filter | None) -> Bools:
    """(m, w) bool: rows that are alive, match the filter (None: all do), and are not excluded by their request.

    `rows` is (m, w), or (1, w) where all requests have the same; the answer is (1, w) then where nothing is excluded.
    Negative rows are padding and not eligible. `excluded` are sorted tags of request and key, see `candidates.tag`.
    """
    keep = rows >= 0
    items = shard.items
    shown = items.shown  # read first: a row that comes meanwhile counts in the length alone
    if shown == len(items) and given is None and not len(excluded):
        return keep
    if not len(items):
        return keep
    safe = np.maximum(rows, 0)
    if shown != len(items):
        keep &= items.alive.view[safe]
    if given is not None:
        mask = shard.lists.mask(given)
        keep &= mask[np.minimum(safe, len(mask) - 1)] & (safe < len(mask))
    if len(excluded):
        keys = items.keys.view[safe]
        own = tag(requests[:, None], keys) if np.count_nonzero(requests) else keys  # of the first request they are tags
        keep = keep & ~contains(excluded, own)
    return keep
