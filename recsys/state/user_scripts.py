"""What Redis does in one step with the keys of a user: Lua, whose keys and arguments `users.py` gives."""

from __future__ import annotations

from recsys.state.counting_script import COUNTING
from recsys.state.slate_log import ERASED, ERASED_S, LOGGING, TOKEN_BYTES

APPEND = (
    COUNTING
    + LOGGING
    + f"""
local function log_outcomes(lines)
  local users = string.rep(token(KEYS[7], ARGV[8], ARGV[9]), #lines)
  admit(KEYS[8], KEYS[9], tonumber(ARGV[10]), #users / {TOKEN_BYTES}, 0, 'events', table.concat(lines, '\\n'),
    'users', users)
end
"""
    + """
-- The first `count` of a history by time, then id: id, time and item of each. `fields`: id, event, id, event, ...
local function oldest(fields, count)
  local events = {}
  for i = 1, #fields, 2 do
    local read, _, item, time = pcall(cmsgpack.unpack_limit, fields[i + 1], 2)
    -- What an earlier release wrote cannot be read, and was never counted here: it goes first.
    if not read or type(item) ~= 'string' or type(time) ~= 'number' then item, time = nil, NEVER end
    events[#events + 1] = {id = fields[i], time = time, item = item}
  end
  table.sort(events, function(a, b) return a.time < b.time or (a.time == b.time and a.id < b.id) end)
  local first = {}
  for n = 1, count do first[n] = events[n] end
  return first
end

-- KEYS: events, sequence, profile, floor, counted of a user; then sequences; token; outcomes, its waiting; of the
--       user's segment, see `segment_of`
-- ARGV: events to keep; seconds that the user's keys live, 0: for ever; the call's mark; half-life of trends in
--       seconds; prefixes of counters and feeds; segments; of the log: a new token, seconds that it lives, rows that
--       may wait; then for each event: id, timestamp, event, item, weight, feed, line of the log ('': it names no
--       answer)
local fresh, old, before, gone, lines = {}, {}, call('GET', KEYS[2]), {}, {}
local floor = call('GET', KEYS[4])
local from = tonumber(floor or '-inf')
local to = {counted = KEYS[5], sequences = KEYS[6], half_life = tonumber(ARGV[4]), count = ARGV[5], touched = ARGV[6]}
to.segment = segment_of(ARGV[7], 10)
local ids, places = {}, {}
for i = 11, #ARGV, 7 do
  if tonumber(ARGV[i + 1]) <= from then
    old[#old + 1] = (i - 11) / 7
  else
    ids[#ids + 1], places[#places + 1] = ARGV[i], i
  end
end
local documents, said, written = {}, {}, 0
for n, known in ipairs(in_parts('HMGET', KEYS[1], ids)) do
  local i = places[n]
  if not known then
    fresh[#fresh + 1] = (i - 11) / 7
    local at = 2 * written
    documents[at + 1], documents[at + 2] = ARGV[i], ARGV[i + 2]
    at, written = 2 * at, written + 1
    said[at + 1], said[at + 2] = ARGV[i + 3], tonumber(ARGV[i + 5])
    said[at + 3], said[at + 4] = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 4])
    if ARGV[i + 6] ~= '' then lines[#lines + 1] = ARGV[i + 6] end
  elseif string.sub(known, -#ARGV[3]) == ARGV[3] then
    -- The answer to an earlier try of this very call was lost: that try has counted the event.
    fresh[#fresh + 1] = (i - 11) / 7
  end
end
in_parts('HSET', KEYS[1], documents)
say(to, said)
if #lines > 0 then log_outcomes(lines) end
if written == 0 then return {fresh, old, floor or '', '0', before or '0', '', 0} end
local over = call('HLEN', KEYS[1]) - tonumber(ARGV[1])
if over > math.floor(tonumber(ARGV[1]) / 10) then
  gone = oldest(call('HGETALL', KEYS[1]), over)
  local ids = {}
  for n, event in ipairs(gone) do
    if event.item then unsay(to, event.item, event.time) end
    ids[n] = event.id
  end
  in_parts('HDEL', KEYS[1], ids)
  local newest = gone[#gone].time
  if newest > from then call('SET', KEYS[4], string.format('%.17g', newest)) end
end
local after, ttl, left = tell(to), tonumber(ARGV[2]), call('TTL', KEYS[5])
call('SET', KEYS[2], after, 'KEEPTTL')
-- All expire together. Prolonging them costs as much as counting a like: so not before a hundredth has passed.
if ttl > 0 and (left < ttl * 0.99 or left > ttl or #gone > 0) then
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[4], KEYS[5]}) do call('EXPIRE', key, ttl) end
elseif ttl == 0 and left >= 0 then
  for _, key in ipairs({KEYS[1], KEYS[2], KEYS[4], KEYS[5]}) do call('PERSIST', key) end
end
-- What has left the history is still in the cached profile, and a lost try has moved on the sequence: only a rebuild
-- puts both right.
local foldable = #gone == 0 and written == #fresh
local profile = foldable and call('GET', KEYS[3]) or ''
return {fresh, old, floor or '', before or '0', after, profile, foldable and 1 or 0}
"""
)

SAVE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3]) end
"""

ADOPT = """
if redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('RENAME', KEYS[2], KEYS[3])
  redis.call('EXPIRE', KEYS[3], ARGV[2])
end
"""

FORGET = (
    COUNTING
    + """
-- KEYS: events, sequence, profile, floor, counted of a user; then sequences; segment. ARGV: the sequence of which the
-- rest is told; event id; half-life; prefixes of counters, feeds; segments; item and feed; then for each other event
-- about the item: timestamp, weight
if (call('GET', KEYS[2]) or '0') ~= ARGV[1] then return -1 end
if call('HDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
local to = {counted = KEYS[5], sequences = KEYS[6], half_life = tonumber(ARGV[3]), count = ARGV[4], touched = ARGV[5]}
to.segment = segment_of(ARGV[6], 7)
local _, born, before = parts(call('HGET', KEYS[5], ARGV[7]))
local after = ''
for i = 9, #ARGV, 2 do after = heard(after, tonumber(ARGV[i]), tonumber(ARGV[i + 1])) end
keep(to, ARGV[7], tonumber(ARGV[8]), born, before, after)
call('SET', KEYS[2], tell(to), 'KEEPTTL')
return 1
"""
)

ERASE = (
    COUNTING
    + """
-- KEYS: as above up to sequences, then early and token; segment. ARGV: seconds for which older events are refused;
--       half-life; prefixes of counters, feeds; segments
local count, said = call('HLEN', KEYS[1]), call('HKEYS', KEYS[5])
local to = {counted = KEYS[5], sequences = KEYS[6], half_life = tonumber(ARGV[2]), count = ARGV[3], touched = ARGV[4]}
to.segment = segment_of(ARGV[5], 9)
for _, item in ipairs(said) do unsay(to, item, math.huge) end
tell(to)
local time = call('TIME')
call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[5], KEYS[7])
call('SET', KEYS[4], string.format('%d.%06d', time[1], time[2]), 'EX', ARGV[1])
"""
    + f"""
call('SET', KEYS[8], '{ERASED}', 'EX', {ERASED_S})
return count
"""
)
