"""The log of answers and outcomes in Redis: two streams, in which rows wait until they are in files.

| stream | written by | field of an entry |
| --- | --- | --- |
| answers | composers, some dozen answers at a time | `data`, see `slate_columns.py` |
| outcomes | the script that takes an event into a history, and composers | `events`, lines of JSON |

Both have `rows`, how many there are; `lost`, how many were left out since the entry before, because too many were
waiting; and `users`, 8 bytes for each row: the user's token, zeros where there is no user.

A token is random and stands under a hash of the user's id. The log has nothing else of the user, so once the token is
deleted nobody can say whose rows they are. For ten minutes after an erasure the user has another token in every row, so
that answers from before it that were still on their way do not get the one to come.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from recsys.datatypes import Interaction
from recsys.state import redis_keys
from recsys.state.lua_calls import Call, run_many
from recsys.state.slate_columns import Answer, encode_answers, encode_outcome

TOKEN_BYTES = 8
ERASED = "erased"
ERASED_S = 600
"""Seconds after an erasure for which a user has no token that lasts."""
_NO_USER_S = 300.0
"""Seconds after which answers that still wait in their composer are logged without a user: by then the mark of an
erasure might soon be gone."""
_WRITER_S = 86_400
"""Seconds for which a composer's last write is remembered."""

LOGGING = f"""
local call = redis.call

-- Append an entry of so many rows, unless more than `most` would wait then. Rows that are left out are counted, and the
-- next entry tells how many. Returns 1 or 0.
local function admit(stream, waiting, most, rows, lost, ...)
  local state = call('HMGET', waiting, 'rows', 'lost')
  if tonumber(state[1] or '0') + rows > most then
    call('HINCRBY', waiting, 'lost', rows + lost)
    return 0
  end
  call('HINCRBY', waiting, 'rows', rows)
  call('HDEL', waiting, 'lost')
  call('XADD', stream, '*', 'rows', rows, 'lost', lost + tonumber(state[2] or '0'), ...)
  return 1
end

-- What stands for a user in the log. `fresh` are 8 random bytes for one who has no token.
local function token(key, fresh, ttl)
  local stored = call('GET', key)
  if stored == '{ERASED}' then return fresh end
  if stored then return stored end
  call('SET', key, fresh, 'EX', ttl)
  return fresh
end

-- The tokens of users, '' being nobody.
local function tokens(users, prefix, fresh, ttl)
  local all = {{}}
  for i, user in ipairs(users) do
    all[i] = user == '' and string.rep('\\0', {TOKEN_BYTES})
      or token(prefix .. redis.sha1hex(user), string.sub(fresh, {TOKEN_BYTES} * i - 7, {TOKEN_BYTES} * i), ttl)
  end
  return table.concat(all)
end
"""

_ANSWERS = (
    LOGGING
    + f"""
-- KEYS: answers, its waiting, writer. ARGV: number of the write, most rows, rows, lost, data, users, random bytes,
-- prefix of tokens, seconds that a token lives. Returns 2 where an earlier try of the same write has come through.
if tonumber(call('GET', KEYS[3]) or '0') >= tonumber(ARGV[1]) then return 2 end
call('SET', KEYS[3], ARGV[1], 'EX', {_WRITER_S})
local users = tokens(cmsgpack.unpack(ARGV[6]), ARGV[8], ARGV[7], ARGV[9])
return admit(KEYS[1], KEYS[2], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), 'data', ARGV[5], 'users', users)
"""
)

_OUTCOMES = (
    LOGGING
    + """
-- KEYS: outcomes, its waiting. ARGV: most rows, rows, events, users, random bytes, prefix of tokens, seconds of a token
local users = tokens(cmsgpack.unpack(ARGV[4]), ARGV[6], ARGV[5], ARGV[7])
return admit(KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), 0, 'events', ARGV[3], 'users', users)
"""
)


class Entry(NamedTuple):
    """Answers as they stand in an entry of the log."""

    at: float
    """Unix seconds of the first."""
    users: Sequence[str]
    """Of each answer, empty where there is none."""
    data: bytes

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Entry:
        """At least one answer, in the order in which they were given."""
        return cls(answers[0].at, [a.query.user_id or "" for a in answers], encode_answers(answers))


class SlateLog:
    """`most`: rows that may wait in each stream. `token_s`: seconds that a user's token lives."""

    def __init__(self, redis: Redis, *, most: int, token_s: int) -> None:
        self.most = most
        self.token_s = token_s
        self._redis = redis
        self._answers = redis.register_script(_ANSWERS)
        self._outcomes = redis.register_script(_OUTCOMES)

    async def write(self, writer: str, number: int, entries: Sequence[Entry], lost: int, now: float) -> list[bool]:
        """Log entries in one trip. Return for each whether it was taken: where too many rows are waiting, its answers
        are counted as lost.

        `writer` and `number` name the first entry, and those behind it have the numbers that follow: a composer numbers
        its entries from 1, and may repeat the last call when it does not know whether it came through. `lost`: answers
        that the composer had to leave out before these. `now` in Unix seconds.
        """
        keys = [redis_keys.ANSWERS, redis_keys.waiting(redis_keys.ANSWERS), redis_keys.writer(writer)]
        calls: list[Call] = []
        for n, entry in enumerate(entries):
            users = entry.users if now - entry.at < _NO_USER_S else [""] * len(entry.users)
            counts = [number + n, self.most, len(users), 0 if n else lost]
            calls.append((keys, [*counts, entry.data, *self._tokens(users)]))
        return [bool(result) for result in await run_many(self._redis, self._answers, calls)]

    async def tell(self, events: Sequence[Interaction]) -> None:
        """Log outcomes that are part of no history. Those for which there is no room are counted as lost."""
        keys = [redis_keys.OUTCOMES, redis_keys.waiting(redis_keys.OUTCOMES)]
        lines = b"\n".join([encode_outcome(event) for event in events])
        call: Call = (keys, [self.most, len(events), lines, *self._tokens([event.user_id for event in events])])
        await run_many(self._redis, self._outcomes, [call])

    def _tokens(self, users: Sequence[str]) -> list[Any]:
        return [msgspec.msgpack.encode(users), os.urandom(TOKEN_BYTES * len(users)), redis_keys.TOKENS, self.token_s]


def fresh_token() -> bytes:
    return secrets.token_bytes(TOKEN_BYTES)
