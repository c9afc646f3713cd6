-- wrk: POSTs one body after another out of a file with a body a line, with a key; prints one line of JSON that tools/figures_cache.py reads.
local bodies, next_one = {}, 0
for line in io.lines(os.getenv("FIGURE_BODY")) do bodies[#bodies + 1] = line end

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("FIGURE_KEY")

local requests = {}
function init(args)
   for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, body) end
end

function request()
   next_one = next_one % #requests + 1
   return requests[next_one]
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format('{"requests":%d,"bytes":%d,"duration_us":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
      summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
