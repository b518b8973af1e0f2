-- wrk's script: sends the requests of a file in turn, each `size` bytes, and prints what was measured as JSON.
-- Arguments: the file, the size, how many to leave out at the start, and "again" (begin anew at the end) or "once".
-- There is no `response` function, because wrk then keeps every header; statuses from 400 on are counted without it.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  file = assert(io.open(args[1], "rb"))
  size = tonumber(args[2])
  file:seek("set", size * tonumber(args[3]))
  again = args[4] == "again"
  ended = false
  sent = 0
  -- wrk asks for one request before it starts, and does not send it.
  unsent = true
end

function request()
  if unsent then
    unsent = false
    return "GET / HTTP/1.1\r\n\r\n"
  end
  local text = file:read(size)
  if not text then
    file:seek("set")
    text = file:read(size)
    if not again then
      ended = true
      wrk.thread:stop()
    end
  end
  sent = sent + 1
  return text
end

function done(summary, latency)
  local errors = summary.errors
  local ended, sent = false, 0
  for _, thread in ipairs(threads) do
    ended = ended or thread:get("ended")
    sent = sent + thread:get("sent")
  end
  print(string.format(
    '{"answered":%d,"sent":%d,"bytes":%d,"seconds":%.6f,"refused":%d,"broken":%d,"p50_ms":%.4f,"p99_ms":%.4f,"ended":%s}',
    summary.requests, sent, summary.bytes, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, tostring(ended)
  ))
end
