-- wrk: POSTs a question that nobody has asked before, each time another: the file's body with a number in it; prints one line of JSON that tools/figures_cache.py reads.
local f = assert(io.open(os.getenv("FIGURE_BODY"), "rb"))
local body = f:read("*a")
f:close()
local before, after = body:match('^(.-"You answer briefly)(.*)$')
local number = os.time() * 1000000

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("FIGURE_KEY")

function request()
   number = number + 1
   return wrk.format(nil, nil, nil, string.format("%s%d%s", before, number, after))
end

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format('{"requests":%d,"bytes":%d,"duration_us":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
      summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
