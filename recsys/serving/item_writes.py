"""Writes of items into the log, in the order in which their callers made them.

A write takes a ticket when it arrives: a number that all composers draw from Redis. Then its text is encoded, which
takes time, and one script writes the log. The script leaves out an item that a write with a later ticket has changed
meanwhile. So a write that timed out at its caller, or that a client sends again after it lost its connection, never
replaces a later one. A caller may give a version of its own as well: an item is left out when it was written with a
higher one.

While the shards of the platform change, a write goes to the logs of the old ones and of the new ones, see
`state/layouts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from recsys.datatypes import Floats, Item
from recsys.errors import Conflict, Unavailable
from recsys.routing import Router
from recsys.serving.written_layouts import WrittenLayouts
from recsys.state import redis_keys
from recsys.state.item_counts import RELEASE
from recsys.state.item_log import Change, Delete, LogId, Upsert, fields_of
from recsys.state.layouts import EPOCH
from recsys.state.lua_calls import next_number, run_many

_WRITE = (
    RELEASE
    + """
-- KEYS: layouts; for each item its ticket, its version and its counter, then the log of each of its changes.
-- ARGV: ticket, its lifetime in seconds, version or '', its lifetime, the ticket of each item's last write or '' for
-- whichever it is; the epoch of the layouts that the changes are for; '1' where the items are deleted, so that their
-- counters expire, or ''; for each item the number of changes, for each of these the number of its fields, and the
-- fields. Answers nothing, and writes nothing, when the epoch is another.
local ticket, version = tonumber(ARGV[1]), ARGV[3]
local expected = ARGV[5]
if redis.call('HGET', KEYS[1], 'EPOCH') ~= ARGV[6] then return {} end
local key, arg, answers = 2, 8, {}
while key <= #KEYS do
  local last, highest, counter, changes = KEYS[key], KEYS[key + 1], KEYS[key + 2], tonumber(ARGV[arg])
  key, arg = key + 3, arg + 1
  local why = ''
  local before = redis.call('GET', last) or '0'
  if tonumber(before) > ticket or (expected ~= '' and before ~= expected) then
    why = 'later'
  elseif version ~= '' and tonumber(redis.call('GET', highest) or '-1') > tonumber(version) then
    why = redis.call('GET', highest)
  end
  local answer = {why}
  for _ = 1, changes do
    local count = tonumber(ARGV[arg])
    if why == '' then
      local fields = {}
      for place = 1, count do fields[place] = ARGV[arg + place] end
      answer[#answer + 1] = redis.call('XADD', KEYS[key], '*', unpack(fields))
    end
    key, arg = key + 1, arg + 1 + count
  end
  if why == '' then
    redis.call('SET', last, ARGV[1], 'EX', ARGV[2])
    if version ~= '' then redis.call('SET', highest, version, 'EX', ARGV[4]) end
    if ARGV[7] ~= '' then release(counter) end
  end
  answers[#answers + 1] = answer
end
return answers
""".replace("EPOCH", EPOCH)
)

_VERSION_S = 400 * 86_400
"""Seconds for which a caller's version of an item is stored, from the last write with one. That is longer than callers
keep an old change to send it again. It ends, because deleted items must not take memory for ever."""

_TOGETHER = 50
"""Items that one script writes: more than a millisecond in which Redis does nothing else, and as long here."""

_MOVES = 5
"""Times that a write is made again because the layouts changed meanwhile. They change a few times an hour at most."""

_AWAY = "the item log does not answer; send the items again"


@dataclass(frozen=True, slots=True)
class Logged:
    """What one call wrote into the item log, durable."""

    items: list[tuple[int, str] | Conflict]
    """(shard, sequence number) of each item's own entry, or why it was left out. In the served layout."""
    newest: dict[LogId, str]
    """The last entry of each log that was written to; once it is applied, so are those before it."""

    def __add__(self, later: Logged) -> Logged:
        return Logged([*self.items, *later.items], self.newest | later.newest)


ChangesOf = Callable[[Router], Sequence[Sequence[tuple[int, Change]]]]
"""For each item what to write into the logs of the router's shards: (shard, change) pairs, the item's own first."""


class ItemWriter:
    """`serving` returns the id of the served layout. `kept_s`: seconds for which an item's last ticket is stored,
    longer than any write takes from ticket to log.
    """

    def __init__(self, redis: Redis, layouts: WrittenLayouts, serving: Callable[[], str], kept_s: float) -> None:
        self._redis = redis
        self._layouts = layouts
        self._serving = serving
        self._kept_s = int(kept_s) + 1
        self._script = redis.register_script(_WRITE)

    async def ticket(self) -> int:
        """The place of a write among all writes. Take it when the write arrives."""
        try:
            return int(await next_number(self._redis, redis_keys.TICKETS))
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error

    async def last(self, item_id: str) -> int:
        """The ticket of the item's last write; 0: it was so long ago that none of before is under way."""
        try:
            return int(await self._redis.get(redis_keys.written(item_id)) or 0)
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error

    async def upsert(
        self,
        items: Sequence[Item],
        vectors: Floats,
        fingerprint: str,
        ticket: int,
        version: int | None = None,
        expected: int | None = None,
    ) -> Logged:
        """Write (n, d) `vectors` of n items, which the encoder with this fingerprint made, some at a time: reads of
        this process and of Redis go on in between, and shards take the first ones meanwhile.

        `version`: the caller's, of all the items; None: the order of tickets alone decides. `expected`: what `last`
        said of each item; it is left out when another write came since. Raises Unavailable when Redis does not confirm.
        """
        logged = Logged([], {})
        for start in range(0, len(items), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            upserts = [
                Upsert(item, vector, fingerprint) for item, vector in zip(items[part], vectors[part], strict=True)
            ]
            logged += await self._upsert(upserts, ticket, version, expected)
        return logged

    async def _upsert(
        self, upserts: Sequence[Upsert], ticket: int, version: int | None, expected: int | None
    ) -> Logged:
        def changes_of(router: Router) -> list[list[tuple[int, Change]]]:
            changes: list[list[tuple[int, Change]]] = []
            for upsert in upserts:
                owner, item_id = router.owner(upsert.item), upsert.item.item_id
                # Routed by an attribute, an item moves when the attribute changes: the others must let go of it.
                others = [(n, Delete(item_id)) for n in router.holders(item_id) if n != owner]
                changes.append([(owner, upsert), *others])
            return changes

        item_ids = [upsert.item.item_id for upsert in upserts]
        return await self._write(item_ids, changes_of, ticket, version, expected)

    async def delete(self, item_id: str, ticket: int, version: int | None = None) -> Logged:
        """An entry in every shard that may hold the item; the first stands for it."""

        def changes_of(router: Router) -> list[list[tuple[int, Change]]]:
            return [[(n, Delete(item_id)) for n in router.holders(item_id)]]

        return await self._write([item_id], changes_of, ticket, version, deleted=True)

    async def _write(
        self,
        item_ids: Sequence[str],
        changes_of: ChangesOf,
        ticket: int,
        version: int | None,
        expected: int | None = None,
        *,
        deleted: bool = False,
    ) -> Logged:
        """`deleted`: whether all the changes are deletes."""
        try:
            layouts = await self._layouts.read()
            for _ in range(_MOVES):
                # The served layout first: its entries are the ones that the caller is told of.
                written = sorted(layouts.written, key=lambda layout: layout.id != self._serving())
                changes: list[list[tuple[LogId, Change]]] = [[] for _ in item_ids]
                for layout in written:
                    for own, added in zip(changes, changes_of(layout.router), strict=True):
                        own += [(LogId(layout.id, shard), change) for shard, change in added]
                first = [ticket, self._kept_s, _or_empty(version), _VERSION_S, _or_empty(expected), layouts.epoch]
                first.append("1" if deleted else "")
                call = _arguments(item_ids, changes, first)
                [answers] = await run_many(self._redis, self._script, [call])
                if answers:
                    return _logged(item_ids, changes, answers, version)
                layouts = await self._layouts.look()
        except (RedisError, OSError) as error:
            raise Unavailable(_AWAY) from error
        raise Unavailable("the shards' layouts keep changing; send the items again")


def _arguments(
    item_ids: Sequence[str], changes: Sequence[Sequence[tuple[LogId, Change]]], first: Sequence[Any]
) -> tuple[list[redis_keys.Key], list[Any]]:
    """Keys and arguments of the script. `first`: the arguments before those of the items."""
    keys, args = [redis_keys.LAYOUTS], list(first)
    for item_id, own in zip(item_ids, changes, strict=True):
        logs = [redis_keys.log(log.shard, log.layout) for log, _ in own]
        keys += [redis_keys.written(item_id), redis_keys.version(item_id), redis_keys.count(item_id), *logs]
        args.append(len(own))
        for _, change in own:
            fields = [part for pair in fields_of(change).items() for part in pair]
            args += [len(fields), *fields]
    return keys, args


def _logged(
    item_ids: Sequence[str],
    changes: Sequence[Sequence[tuple[LogId, Change]]],
    answers: Sequence[Sequence[bytes]],
    version: int | None,
) -> Logged:
    written: list[tuple[int, str] | Conflict] = []
    newest: dict[LogId, str] = {}
    for item_id, own, (why, *sequences) in zip(item_ids, changes, answers, strict=True):
        if why:
            written.append(_conflict(item_id, why.decode(), version))
            continue
        newest |= {log: at.decode() for (log, _), at in zip(own, sequences, strict=True)}
        written.append((own[0][0].shard, sequences[0].decode()))
    return Logged(written, newest)


def _or_empty(number: int | None) -> int | str:
    return "" if number is None else number


def _conflict(item_id: str, why: str, version: int | None) -> Conflict:
    if why == "later":
        return Conflict(f"item_id: {item_id!r} was changed by a later call; nothing was changed", field="item_id")
    return Conflict(
        f"version: {version} of {item_id!r} is older than {why}, which is known; nothing was changed", field="version"
    )
