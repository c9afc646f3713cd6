-- wrk: POST of a file with a key; prints one line of JSON that tools/figures.py reads.
local function read(path)
   local f = assert(io.open(path, "rb"))
   local text = f:read("*a")
   f:close()
   return text
end

wrk.method = "POST"
wrk.body = read(os.getenv("FIGURE_BODY"))
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("FIGURE_KEY")

function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format('{"requests":%d,"bytes":%d,"duration_us":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n',
      summary.requests, summary.bytes, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
      latency:percentile(50), latency:percentile(99)))
end
