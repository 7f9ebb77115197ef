"""Likes and trend of items in Redis: what `counting_script.py` counts, and what shards read.

A user counts once for an item. After the user's last word against it, however many likes came, they are one like: of
the largest weight, at the time of the newest. `recsys:counted:USER` holds the words that decide it, so that a script
can take out of an item's numbers just what it had put in. The numbers are thus a function of the events in the users'
histories, whatever their order and however they were cut into calls. A like that leaves its user's history, or whose
user is erased, is taken back. One whose user expires stays: nobody is there to take it back.

A trend is a sum of likes that halve every half-life. It is kept as `log2(sum of weight * 2 ** (t / half_life))`, which
no passing of time changes (forward decay, Cormode et al. 2009): nothing has to be aged, and no number overflows.

The numbers of an item that no shard holds live for a week. A shard that reads those of an item it holds prolongs them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.state import redis_keys
from recsys.state.counting_script import HELD_S, UNHELD_S

if TYPE_CHECKING:  # a process that only reads a shard, such as a trial of `recsys tune`, starts without the client
    from redis.asyncio import Redis

PAGE = 1000
"""Items read at a time: about 2 ms of an event loop."""

_SCANNED = 5000
"""Keys that Redis looks at in one step of a scan: about a millisecond."""

_GRAIN = 2.0**-20
"""Weights are whole multiples of this, so that sums are exact and do not depend on their order."""

_PROLONGED_S = 30 * 86_400

_NUMBERS = np.dtype([("likes", "<f8"), ("trend", "<f8"), ("prolonged", "<f8"), ("born", "<f8")])
"""Of an item: likes, trend as log2, Unix seconds at which a shard last prolonged it (0: none has), the number drawn
from recsys:sequences when it was first counted: a later counter of the same item is another."""
_NONE = np.array([(0.0, -np.inf, np.inf, 0.0)], _NUMBERS).tobytes()

RELEASE = f"""
local function release(counter)
  if redis.call('STRLEN', counter) == {_NUMBERS.itemsize} then
    redis.call('SETRANGE', counter, 16, string.rep('\\0', 8))
    redis.call('EXPIRE', counter, {UNHELD_S})
  end
end
"""
"""Lua: lets the numbers of a deleted item expire, unless a shard holds the item again before."""

_PROLONG = f"""
-- KEYS: counters. ARGV: Unix seconds of now; seconds to live
for _, key in ipairs(KEYS) do
  if redis.call('STRLEN', key) == {_NUMBERS.itemsize} then
    redis.call('SETRANGE', key, 16, struct.pack('<d', ARGV[1]))
    redis.call('EXPIRE', key, ARGV[2])
  end
end
"""


def grain(weight: float) -> float:
    """The weight as it is counted, off by less than a millionth; 0 where it is no like."""
    return max(round(weight / _GRAIN), 1) * _GRAIN if weight > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """(n,) float64 each: weighted likes, and trends as log2, -inf for none."""

    item_ids: Sequence[str]
    likes: npt.NDArray[np.float64]
    trends: npt.NDArray[np.float64]
    expiring: Sequence[str] = ()
    """Items whose numbers are to be prolonged if a shard holds them."""


async def read(redis: Redis, item_ids: Sequence[str]) -> Counts:
    """The numbers of these items; zeros where nothing was counted."""
    numbers: list[bytes] = []
    for start in range(0, len(item_ids), PAGE):
        blobs: list[Any] = await redis.mget([redis_keys.count(i) for i in item_ids[start : start + PAGE]])
        numbers += [_NONE if blob is None else blob for blob in blobs]
    table = np.frombuffer(b"".join(numbers), _NUMBERS)
    old = np.flatnonzero(table["prolonged"] < time.time() - _PROLONGED_S)
    return Counts(item_ids, table["likes"], table["trend"], [item_ids[n] for n in old.tolist()])


async def counted(redis: Redis) -> AsyncIterator[list[str]]:
    """Yield the ids of all items of which anything is counted, some at a time. One that is counted first meanwhile may
    be left out, and some may come twice.
    """
    cursor = 0
    while True:
        page: Any = await redis.scan(cursor, match=redis_keys.count("*"), count=_SCANNED)
        cursor, keys = page
        if keys:
            yield [key.decode().split(":", 2)[2] for key in keys]  # neither the prefix nor the kind has a colon
        if not cursor:
            return


async def prolong(redis: Redis, item_ids: Sequence[str]) -> None:
    """Keep the numbers of items that a shard holds from expiring."""
    script, now = redis.register_script(_PROLONG), repr(time.time())
    for start in range(0, len(item_ids), PAGE):
        await script(keys=[redis_keys.count(i) for i in item_ids[start : start + PAGE]], args=[now, HELD_S])
