-- Gives a sign of life for a bucket and says which of its pools have leases to end.
--
-- KEYS[1]  clock  HASH  the bucket's clock
-- KEYS[2]  due    ZSET  pool -> lower bound of its earliest expiry, ms
--
-- ARGV[1]  limit      at most so many pools
-- ARGV[2]  ticked_ms  the instant of the caller's last tick; 0 for none
-- ARGV[3]  waited_ms  how long ago that was, by a stopwatch
-- ARGV[4]  seq        the number of that tick
--
-- Returns { status, seq, now_ms, generation, lost, revision, shift_ms, floor_ms, back_ms, then the names of pools }
--   ticked    revision counts the changes of pools, lost is 1 after a loss of data; shift_ms is how far time is ahead of
--             Redis's clock because that went back; floor_ms and back_ms are begin and end of the last silence, 0 for none
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local ticked, waited = tonumber(ARGV[2]), tonumber(ARGV[3])

-- The data is older than what the caller was told: somebody restored a backup, or a replica that was far behind took over.
-- Leases in it may have ended long ago, and others are not in it. So it counts as lost: who holds a seat comes back by its
-- token, and newcomers wait for one TTL; nobody has a grace by what this data says.
local function is_restored()
  local since, stop = tick, now
  if not returned then
    since, stop = string.match(redis.call('HGET', clock, 'silences') or '', '(%d+) (%d+) $')
  end
  return since and tonumber(since) < ticked - 10000 and ticked < tonumber(stop) and generation < ticked
end
if seq < tonumber(ARGV[4]) and is_restored() then
  generation, state[8] = now, '1'
  floor, back, gap, returned = 0, 0, 0, false
  redis.call('HSET', clock, 'generation', int(generation), 'lost', '1', 'floor', '0', 'back', '0', 'gap', '0')
end

-- A server that takes over with a clock that is behind hides how long nobody could ask: time goes on from where it was. A
-- node that waited meanwhile knows, but for what time loses on its way back to Redis's clock. That can only give a grace, so
-- no clock of a node ends anything.
local hidden = waited - waited / 25 - (now - ticked)
if ticked > 0 and hidden > 3000 and not returned then
  note_silence(hidden)
end
mark()

local reply = { 'ticked', int(seq), int(now), int(generation), state[8] or '0',
  redis.call('HGET', clock, 'revision') or '0', int(shift), int(floor), int(back) }
local pools = redis.call('ZRANGE', KEYS[2], '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[1])
for i = 1, #pools do
  reply[#reply + 1] = pools[i]
end
return reply
