-- The requests that wrk sends in `make bench`, and the one line of JSON with its results.
--
-- wrk … -s load.lua URL -- KIND THREADS [FILE]
--   KIND     livez, renew, renew-many, acquire, pairs, denied or keepalive
--   THREADS  as in -t; each takes its own part of the file
--   FILE     renew: one token a line; renew-many: one body a line; keepalive: one lease id a line
--
-- Requests are put together before the start, because wrk.format would cost more than the node's answer.

local threads = 0

function setup(thread)
  thread:set('part', threads)
  threads = threads + 1
end

local function head(path, length)
  return 'POST ' .. path .. ' HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: '
    .. length .. '\r\n\r\n'
end

-- Calls `make` with every line of the file that is this thread's, and answers with them round and round.
local function round(path, count, make)
  local list, n = {}, 0
  for line in io.lines(path) do
    if n % count == part then
      list[#list + 1] = make(line)
    end
    n = n + 1
  end
  local at = 0
  return list, function()
    at = at % #list + 1
    return list[at]
  end
end

local kinds = {}

function kinds.livez()
  local text = 'GET /livez HTTP/1.1\r\nHost: bench\r\n\r\n'
  return function() return text end
end

function kinds.renew(count, file)
  local _, text = round(file, count, function(line)
    return head('/v1/leases/renew', #line + 12) .. '{"token":"' .. line .. '"}'
  end)
  return text
end

kinds['renew-many'] = function(count, file)
  local _, body = round(file, count, function(line) return head('/v1/leases/renew-many', #line) .. line end)
  return body
end

-- Newcomers only, each another holder.
function kinds.acquire(count, pool)
  local n = part
  return function()
    n = n + count
    local body = string.format('{"holder":"agent-%d"}', n)
    return head('/v1/pools/' .. pool .. '/leases', #body) .. body
  end
end

-- An acquire, and the release of what it got, by turns on each connection.
function kinds.pairs(count, pool)
  local tokens, n = {}, 0
  function response(status, _, body)
    if status == 201 then
      tokens[#tokens + 1] = body:match('"token":"([^"]+)"')
    end
  end
  return function()
    local token = table.remove(tokens)
    if token then
      return head('/v1/leases/release', #token + 12) .. '{"token":"' .. token .. '"}'
    end
    n = n + 1
    local body = string.format('{"holder":"agent-%d%05d"}', part, n % 100000)
    return head('/v1/pools/' .. pool .. '/leases', #body) .. body
  end
end

-- A crowd of 100 000 holders that ask again and again.
function kinds.denied(count, pool)
  local n = part
  return function()
    n = (n + 7919) % 100000
    return head('/v1/pools/' .. pool .. '/leases', 25) .. string.format('{"holder":"denied-%05d"}', n)
  end
end

function kinds.keepalive(count, file)
  local _, text = round(file, count, function(line)
    return head('/v3/lease/keepalive', #line + 9) .. '{"ID":"' .. line .. '"}'
  end)
  return text
end

function init(args)
  request = kinds[args[1]](tonumber(args[2]), args[3])
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"refused":%d,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
