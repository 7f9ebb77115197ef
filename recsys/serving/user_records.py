"""What is kept of one user: the history and the attributes, read, changed, merged and forgotten."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec.structs import replace
from redis.exceptions import RedisError

from recsys.datatypes import AttributeValue, Interaction
from recsys.errors import NotFound, Unavailable
from recsys.serving.event_writes import EventWriter, Recorded
from recsys.state.user_attributes import UserAttributes
from recsys.state.users import UserStore


class UserRecords:
    def __init__(
        self,
        users: UserStore,
        about: UserAttributes,
        events: EventWriter,
        record: Callable[[Sequence[Interaction]], Awaitable[Recorded]],
    ) -> None:
        """`record`: how a merged user gets the other's events."""
        self._users = users
        self._about = about
        self._events = events
        self._record = record

    async def history(self, user_id: str) -> list[Interaction]:
        """A user's events, oldest first; empty for an unknown user. Raises Unavailable when Redis does not answer."""
        try:
            return (await self._users.histories([user_id]))[0]
        except (RedisError, OSError) as error:
            raise Unavailable("the event store does not answer; try again") from error

    async def erase(self, user_id: str) -> int:
        """Forget a user. Return how many events were deleted. Raises Unavailable when Redis does not answer."""
        try:
            erased = await self._users.erase(user_id)  # first: it takes the likes out of the user's segment
            await self._about.erase(user_id)
        except (RedisError, OSError) as error:
            raise Unavailable("the event store does not answer; nothing may be erased yet: call again") from error
        return erased

    async def forget(self, user_id: str, event_id: str) -> None:
        """Delete one event of a user. Raises NotFound, and Unavailable when Redis does not answer."""
        try:
            forgotten = await self._users.forget(user_id, event_id, self._events.counted)
        except (RedisError, OSError) as error:
            raise Unavailable("the event store does not answer; nothing may be deleted yet: call again") from error
        if not forgotten:
            raise NotFound(f"event_id: the user has no event {event_id!r}", field="event_id")

    async def attributes(self, user_id: str) -> dict[str, AttributeValue]:
        """What is known of a user beside events. Raises Unavailable when Redis does not answer."""
        try:
            return (await self._about.load([user_id]))[user_id]
        except (RedisError, OSError) as error:
            raise Unavailable("the store of users does not answer; try again") from error

    async def describe(
        self, user_id: str, attributes: Mapping[str, AttributeValue], gone: Sequence[str] = (), *, whole: bool
    ) -> dict[str, AttributeValue]:
        """Store attributes of a user, `whole`: in the place of all others. Return what is known then."""
        try:
            if whole:
                await self._about.replace(user_id, attributes)
            else:
                await self._about.change(user_id, attributes, gone)
        except (RedisError, OSError) as error:
            raise Unavailable("the store of users does not answer; send the attributes again") from error
        return await self.attributes(user_id)

    async def merge(self, user_id: str, other: str) -> Recorded:
        """Give a user the history and the attributes of another one, who is forgotten then. What the user has stays.

        The same call may be made again. Raises Unavailable: then it has to be.
        """
        moved = [replace(event, user_id=user_id) for event in await self.history(other)]
        own, theirs = await self.attributes(user_id), await self.attributes(other)
        recorded = await self._record(moved)
        if new := {name: value for name, value in theirs.items() if name not in own}:
            await self.describe(user_id, new, whole=False)
        await self.erase(other)
        return recorded
