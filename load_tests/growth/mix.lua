-- The mix of a shop: of a hundred requests 83 recommendations, 10 events, 5 similar items and 2 items written.
-- ARGS: users, items, milliseconds that each connection waits in the mean before it asks again (0: none), a mark of the
-- run, which requests (mix, recommend, event, similar or write), and a file of likes to come, each a line with a user
-- and an item; without one, anybody likes anything. Prints one line of JSON, with the latencies as pairs of microseconds
-- and how many requests took them.
local users, items, number, mark, kind, likes = 0, 0, 0, "", "mix", {}
local headers = {["Content-Type"] = "application/json"}

init = function(args)
  users, items, mark, kind = tonumber(args[1]), tonumber(args[2]), args[4], args[5]
  local pause = tonumber(args[3])
  if args[6] and (kind == "mix" or kind == "event") then
    for line in io.lines(args[6]) do likes[#likes + 1] = line end
  end
  math.randomseed(os.time())
  if pause > 0 then
    -- Exponential, so that requests come as those of many independent users do.
    delay = function() return math.floor(-math.log(1 - math.random()) * pause + 0.5) end
  end
end

local asked = {
  recommend = function(user)
    return wrk.format("GET", "/v1/users/" .. user .. "/recommendations?k=10&include_seen=true")
  end,
  event = function(user, item)
    if #likes > 0 then
      user, item = likes[math.random(#likes)]:match("(%S+) (%S+)")
    end
    local event = string.format('{"event_id": "%s-%d", "user_id": "%d", "item_id": "%s", "type": "like"}',
      mark, number, user, item)
    return wrk.format("POST", "/v1/events", headers, '{"events": [' .. event .. ']}')
  end,
  similar = function(_, item)
    return wrk.format("GET", "/v1/items/" .. item .. "/similar?k=10")
  end,
  write = function()
    return wrk.format("PUT", "/v1/items/steady-" .. math.random(200), headers,
      string.format('{"title": "Steady %d", "text": "written for the %dth time"}', math.random(200), number))
  end,
}

request = function()
  number = number + 1
  local user, item, draw = math.random(users), "item-" .. math.random(0, items - 1), math.random(100)
  local what = kind
  if kind == "mix" then
    what = draw <= 10 and "event" or draw <= 15 and "similar" or draw <= 17 and "write" or "recommend"
  end
  return asked[what](user, item)
end

done = function(summary, latency)
  local e, taken = summary.errors, {}
  for i = 1, #latency do
    local microseconds, requests = latency(i)
    taken[i] = string.format("[%d,%d]", tonumber(microseconds), tonumber(requests))
  end
  io.write(string.format(
    '\nJSON {"requests": %d, "seconds": %.3f, "errors": %d, "latencies": [%s]}\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout, table.concat(taken, ",")))
end
