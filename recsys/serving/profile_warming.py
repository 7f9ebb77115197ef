"""Profiles of recent users, made for a version just before it is served."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from itertools import islice

from redis.exceptions import RedisError

from recsys.ranking.served_version import Serve
from recsys.serving.profile_rebuilding import Rebuilder
from recsys.state.users import UserStore

_USERS = 5000
"""The most recent users that a composer remembers."""
_PAGE = 32
"""Users whose profiles are made together. A pause of the same length follows, for the requests beside it."""
_WITHIN_S = 8.0
"""Seconds after which the version is served in any case: some 2,000 users of 150 events each."""


class Active:
    """The most recent users."""

    def __init__(self) -> None:
        self._users: dict[str, None] = {}

    def note(self, user_ids: Iterable[str]) -> None:
        for user_id in user_ids:
            self._users.pop(user_id, None)
            self._users[user_id] = None
        if len(self._users) > 2 * _USERS:
            self._users = dict.fromkeys(islice(self._users, len(self._users) - _USERS, None))

    def drop(self, user_ids: Iterable[str]) -> None:
        """Forget users."""
        for user_id in user_ids:
            self._users.pop(user_id, None)

    def everyone(self) -> list[str]:
        """Return all users that are remembered."""
        return list(self._users)

    def newest(self) -> list[str]:
        """At most `_USERS` users, the most recent first."""
        return list(reversed(self._users))[:_USERS]


async def warm(active: Active, users: UserStore, rebuilder: Rebuilder, serve: Serve) -> None:
    """Make profiles for a version, for `_WITHIN_S` seconds at the most. The others are made when requests need them."""
    unknown = serve.space.unknown_user()
    with contextlib.suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(_WITHIN_S):
            newest = active.newest()
            for first in range(0, len(newest), _PAGE):
                start = time.monotonic()
                lacking = await users.profiles.without_early(newest[first : first + _PAGE], serve.version, unknown)
                jobs = [rebuilder.ask(u, sequence, n, serve, early=True) for u, (sequence, n) in lacking.items()]
                if waiting := [job.done for job in jobs if job is not None]:
                    await asyncio.wait(waiting)
                    await asyncio.sleep(time.monotonic() - start)
