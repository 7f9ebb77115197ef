-- The mix of a shop: of a hundred requests 83 recommendations, 10 events, 5 similar items and 2 items written.
-- ARGS: users, items, milliseconds that each connection waits in the mean before it asks again (0: none), a mark of the
-- run. Prints one line of JSON.
local users, items, number, mark = 0, 0, 0, ""
local headers = {["Content-Type"] = "application/json"}

init = function(args)
  users, items, mark = tonumber(args[1]), tonumber(args[2]), args[4]
  local pause = tonumber(args[3])
  math.randomseed(os.time())
  if pause > 0 then
    -- Exponential, so that requests come as those of many independent users do.
    delay = function() return math.floor(-math.log(1 - math.random()) * pause + 0.5) end
  end
end

request = function()
  number = number + 1
  local user, item, draw = math.random(users), "item-" .. math.random(0, items - 1), math.random(100)
  if draw <= 10 then
    local event = string.format('{"event_id": "%s-%d", "user_id": "%d", "item_id": "%s", "type": "like"}',
      mark, number, user, item)
    return wrk.format("POST", "/v1/events", headers, '{"events": [' .. event .. ']}')
  elseif draw <= 15 then
    return wrk.format("GET", "/v1/items/" .. item .. "/similar?k=10")
  elseif draw <= 17 then
    return wrk.format("PUT", "/v1/items/steady-" .. math.random(200), headers,
      string.format('{"title": "Steady %d", "text": "written for the %dth time"}', math.random(200), number))
  end
  return wrk.format("GET", "/v1/users/" .. user .. "/recommendations?k=10&include_seen=true")
end

done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nJSON {"rps": %.2f, "p50_ms": %.3f, "p99_ms": %.3f, "p999_ms": %.3f, "max_ms": %.3f, "errors": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    latency:percentile(99.9) / 1e3, latency.max / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
