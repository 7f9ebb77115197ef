"""Lua that counts users' likes of items, for the scripts that write histories; `item_counts.py` says what it keeps."""

from __future__ import annotations

FEED = 10_000
"""Items that one of the feeds (see `routing.FEEDS`) remembers as changed, give or take a tenth. A shard that has
missed more reads all its items."""

UNHELD_S = 7 * 86_400
"""Seconds that the numbers of an item live which no shard holds: events may come before their items."""
HELD_S = 400 * 86_400
"""Seconds that the numbers of an item live which a shard holds. Shards prolong them once a month, so a platform that
rests for a year loses nothing."""

_PART = 2000
"""Arguments of one command of a script: an even number, for some come in pairs."""

COUNTING = f"""
local call, NEVER, touched = redis.call, -math.huge, {{}}

-- A command with many arguments behind its key, nil: it has none; {_PART} at a time, for Lua passes on 8,000 at the
-- most. Returns the elements of all answers, or the sum of answers that are numbers.
local function in_parts(name, key, arguments)
  local elements, sum = {{}}, 0
  if #arguments <= {_PART} then
    if #arguments == 0 then return elements, sum end
    local answer = key and call(name, key, unpack(arguments)) or not key and call(name, unpack(arguments))
    if type(answer) == 'number' then return elements, answer end
    return answer, sum
  end
  for first = 1, #arguments, {_PART} do
    local last = math.min(first + {_PART} - 1, #arguments)
    local answer
    if key then
      answer = call(name, key, unpack(arguments, first, last))
    else
      answer = call(name, unpack(arguments, first, last))
    end
    if type(answer) == 'number' then
      sum = sum + answer
    else
      for i = 1, #answer do elements[#elements + 1] = answer[i] end
    end
  end
  return elements, sum
end

-- (likes, trend) of a user's words about an item: (time, weight) pairs, newest first. Each is of more weight than the
-- newer ones, but for the last: a weight of 0 is a word against the item, which nothing older outlives.
local function strength(words, half_life)
  if words == '' then return 0, NEVER end
  local newest, last = struct.unpack('<d', words), #words - 15
  local weight = struct.unpack('<d', words, last + 8)
  if weight == 0 and last > 1 then weight = struct.unpack('<d', words, last - 8) end
  if weight == 0 then return 0, NEVER end
  return weight, math.log(weight) / math.log(2) + newest / half_life
end

-- The words after one more. The same for any order in which they come; of the same moment the one against it counts.
local function heard(words, time, weight)
  local newer, older = '', ''
  for at = 1, #words, 16 do
    local t, w = struct.unpack('<dd', words, at)
    if t >= time and (w == 0 or (weight > 0 and w >= weight)) then return words end
    if t > time then
      newer = newer .. string.sub(words, at, at + 15)
    elseif weight > 0 and (w == 0 or w > weight) then
      older = older .. string.sub(words, at, at + 15)
    end
  end
  return newer .. struct.pack('<dd', time, weight) .. older
end

-- Put a user's words about an item in the place of those before. `stored`: the item's numbers, false: it has none.
-- Returns the number of the counter that has them.
local function move(to, item, feed, born, before, after, stored)
  local was, had = strength(before, to.half_life)
  local is, has = strength(after, to.half_life)
  if was == 0 and is == 0 then return born end
  local key = to.count .. item
  local likes, trend, number, _ = 0, NEVER, 0
  if stored then likes, trend, _, number = struct.unpack('<dddd', stored) end
  if not stored or number ~= born then was, had = 0, NEVER end
  if was == is and had == has then return born end
  touched[item] = feed
  likes = likes - was + is
  if likes <= 0 then
    call('DEL', key)
    return 0
  end
  local most = math.max(trend, had, has)
  local left = 2 ^ (trend - most) - 2 ^ (had - most) + 2 ^ (has - most)
  trend = left > 0 and most + math.log(left) / math.log(2) or NEVER
  if stored then
    call('SETRANGE', key, 0, struct.pack('<dd', likes, trend))
  else
    number = call('INCR', to.sequences)
    call('SET', key, struct.pack('<dddd', likes, trend, 0, number), 'EX', {UNHELD_S})
  end
  return number
end

-- Feed, number of the counter and words, of what `counted` has of an item.
local function parts(words)
  if not words then return nil, 0, '' end
  local feed, born = struct.unpack('<Hd', words)
  return feed, born, string.sub(words, 11)
end

-- The counter of the user's segment; nil: there is none. KEYS from `at` on: the user's attributes, the segments, the
-- prefix of their counters. `spec`: '', or attribute, segments and items of each at the most, as JSON.
local function segment_of(spec, at)
  if spec == '' then return nil end
  local attribute, most, items = unpack(cjson.decode(spec))
  local value = call('HGET', KEYS[at], attribute)
  if not value then return nil end
  if call('SISMEMBER', KEYS[at + 1], value) == 0 then
    if call('SCARD', KEYS[at + 1]) >= most then return nil end
    call('SADD', KEYS[at + 1], value)
  end
  return {{key = KEYS[at + 2] .. value, items = items}}
end

-- What was counted before the user had the segment, or has left it as one of the least liked, is not taken out.
local function in_segment(segment, item, change)
  if change == 0 or (change < 0 and not call('ZSCORE', segment.key, item)) then return end
  if tonumber(call('ZINCRBY', segment.key, change, item)) <= 0 then call('ZREM', segment.key, item) end
  call('EXPIRE', segment.key, {HELD_S})
  local over = call('ZCARD', segment.key) - segment.items
  if over > segment.items / 10 then call('ZREMRANGEBYRANK', segment.key, 0, over - 1) end
end

-- Replace the user's words about an item. Returns what `counted` is to have of it.
local function replaced(to, item, feed, born, before, after, stored)
  if to.segment then
    local was, is = strength(before, to.half_life), strength(after, to.half_life)
    in_segment(to.segment, item, is - was)
  end
  return struct.pack('<Hd', feed, move(to, item, feed, born, before, after, stored)) .. after
end

-- The same for one item, written.
local function keep(to, item, feed, born, before, after)
  if after == before then return end
  local words = replaced(to, item, feed, born, before, after, call('GET', to.count .. item))
  if after == '' then
    call('HDEL', to.counted, item)
  else
    call('HSET', to.counted, item, words)
  end
end

-- Count what the user says. `said`: item, feed, time and weight of each word, one after another.
local function say(to, said)
  local items, feeds, after = {{}}, {{}}, {{}}
  for i = 1, #said, 4 do
    if not feeds[said[i]] then items[#items + 1] = said[i] end
    feeds[said[i]] = said[i + 1]
  end
  local before, born = {{}}, {{}}
  for n, words in ipairs(in_parts('HMGET', to.counted, items)) do
    local item, _ = items[n]
    _, born[item], before[item] = parts(words)
    after[item] = before[item]
  end
  for i = 1, #said, 4 do after[said[i]] = heard(after[said[i]], said[i + 2], said[i + 3]) end
  local changed, counters, written = {{}}, {{}}, {{}}
  for _, item in ipairs(items) do
    if after[item] ~= before[item] then
      changed[#changed + 1], counters[#counters + 1] = item, to.count .. item
    end
  end
  for n, stored in ipairs(in_parts('MGET', nil, counters)) do
    local item = changed[n]
    written[2 * n - 1] = item
    written[2 * n] = replaced(to, item, feeds[item], born[item], before[item], after[item], stored)
  end
  in_parts('HSET', to.counted, written)
end

-- What the user said of an item up to a time counts no more.
local function unsay(to, item, time)
  local feed, born, before = parts(call('HGET', to.counted, item))
  local after = ''
  for at = 1, #before, 16 do
    if struct.unpack('<d', before, at) > time then after = after .. string.sub(before, at, at + 15) end
  end
  keep(to, item, feed, born, before, after)
end

-- Tell the feeds which items have changed, each under a number of its own. Returns one more number, the newest.
local function tell(to)
  local count, by_feed = 0, {{}}
  for item, feed in pairs(touched) do
    count = count + 1
    by_feed[feed] = by_feed[feed] or {{}}
    table.insert(by_feed[feed], item)
  end
  local newest = call('INCRBY', to.sequences, count + 1)
  local number = newest
  for feed, items in pairs(by_feed) do
    local key, members = to.touched .. feed, {{}}
    for n, item in ipairs(items) do
      number = number - 1
      members[2 * n - 1], members[2 * n] = number, item
    end
    local _, added = in_parts('ZADD', key, members)
    local over = added > 0 and call('ZCARD', key) - {FEED} or 0
    if over > {FEED // 10} then call('ZREMRANGEBYRANK', key, 0, over - 1) end
  end
  return newest
end
"""
"""Lua for the scripts of `users.py`. `to` holds the key `counted` of the user and `sequences`, the prefixes `count` and
`touched` of keys, which an item's id and a feed's number complete, `half_life` in seconds, and `segment`, that of the
user."""
