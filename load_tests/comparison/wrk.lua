-- A request after the other for the users 1 to USERS, in an order without neighbours; prints one line of JSON.
-- With a third argument each connection waits that many milliseconds in the mean before it asks again.
local requests, at = {}, 0

init = function(args)
  local users, target, pause = tonumber(args[1]), args[2], tonumber(args[3])
  for n = 1, users do
    local user = 1 + (n * 7919) % users
    requests[n] = wrk.format("GET", (target:gsub("USER", tostring(user))))
  end
  at = math.random(users)
  if pause then
    -- Exponential, so that requests come as those of many independent users do.
    delay = function() return math.floor(-math.log(1 - math.random()) * pause + 0.5) end
  end
end

request = function()
  at = at % #requests + 1
  return requests[at]
end

done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '\nJSON {"rps": %.2f, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, "max_ms": %.3f, "errors": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
