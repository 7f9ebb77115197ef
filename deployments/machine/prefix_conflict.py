"""The check that no other platform uses the same Redis and prefix."""

from __future__ import annotations

import asyncio
import time

from redis.exceptions import RedisError

from recsys.errors import RuntimeFailure
from recsys.state.connection import connect
from recsys.state.membership import Member, ShardMember
from recsys.state.presence import everyone
from recsys.state.redis_url import redacted
from recsys.state.register import STALE_S

_LOOK_S = 0.5


def refuse_if_another_platform(url: str, prefix: str) -> None:
    """Raise RuntimeFailure, in one line, when there are presence records although this platform is not up.

    The records of replicas that were just killed expire after STALE_S. So this waits for them to expire.
    """
    deadline = time.monotonic() + STALE_S + 2
    while present := asyncio.run(_present(url, prefix)):
        if time.monotonic() > deadline:
            one = present[0]
            name = f"shard-{one.shard}" if isinstance(one, ShardMember) else one.role
            raise RuntimeFailure(
                f"another platform runs in the Redis at {redacted(url)} under the prefix {prefix!r} ({len(present)} "
                f"replicas, such as {one.id} of {name}): end it, or give this one a redis_prefix of its own"
            )
        time.sleep(_LOOK_S)


async def _present(url: str, prefix: str) -> list[Member]:
    async with connect(url, timeout_s=5, prefix=prefix) as redis:
        try:
            return await everyone(redis)
        except RedisError as error:
            raise RuntimeFailure(f"Redis at {redacted(url)} does not say who uses it ({error})") from None
