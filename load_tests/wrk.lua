-- A request after the other for the users 1 to USERS, in an order without neighbours; prints one line of JSON.
local requests, at = {}, 0

init = function(args)
  local users, target = tonumber(args[1]), args[2]
  for n = 1, users do
    local user = 1 + (n * 7919) % users
    requests[n] = wrk.format("GET", (target:gsub("USER", tostring(user))))
  end
  at = math.random(users)
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
