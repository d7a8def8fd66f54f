-- Gives a sign of life for a bucket and says which of its pools have leases to end, and in how many something has happened.
--
-- Joined behind prelude.
--
-- Keys of a bucket:
--   clock  HASH  the bucket's clock
--   due    ZSET  pool -> lower bound of its earliest expiry, ms
--   evaluations  ZSET  pool -> when its alerts are to be evaluated, ms
--
-- Arguments:
--   limit     count      maximum of pools
--   ticked    timestamp  the caller's last tick; 0 for none
--   waited    ms         how long ago that was, by a stopwatch
--   last_seq  count      the number of that tick
--
-- Returns:
--   ticked  nodes are alive
--
-- With:
--   generation  count      of the bucket
--   lost        flag       after a loss of data
--   revision    count      changes of pools
--   shift       ms         how far time is ahead of Redis's clock because that went back
--   floor       timestamp  start of the last silence; 0 for none
--   back        timestamp  end of the last silence; 0 for none
--   to_evaluate  count     pools whose alerts are to be evaluated now
--   each pool:
--     name  pool  a pool with leases to end

-- The data is older than what the caller knows: somebody restored a backup, or a replica that was far behind took over.
-- Leases in it may have ended long ago, and others are not in it. So it counts as lost: who holds a seat comes back by its
-- token, and newcomers wait for one TTL; nobody has a grace by what this data says.
local function is_restored()
  local since, stop = tick, now
  if not returned then
    since, stop = string.match(redis.call('HGET', clock, 'silences') or '', '(%d+) (%d+) $')
  end
  return since and tonumber(since) < ticked - 10000 and ticked < tonumber(stop) and generation < ticked
end
if seq < last_seq and is_restored() then
  generation, lost = now, true
  floor, back, gap, returned = 0, 0, 0, false
  pause_from, pause_to, paused = 0, 0, false
  redis.call('HSET', clock, 'generation', int(generation), 'lost', '1', 'floor', '0', 'back', '0', 'gap', '0',
    'pause_from', '0', 'pause_to', '0')
end

-- A server that takes over with a clock that is behind hides how long nobody could ask: time goes on from where it was. A
-- node that waited meanwhile knows, but for what time loses on its way back to Redis's clock. That can only give a grace, so
-- no clock of a node ends anything.
local hidden = waited - waited / 25 - (now - ticked)
if ticked > 0 and hidden > 3000 and not returned then
  note_silence(hidden)
end
mark()

add_each_pool(redis.call('ZRANGE', due, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, limit))
return answer('ticked', { generation = generation, lost = lost, revision = redis.call('HGET', clock, 'revision'),
  shift = shift, floor = floor, back = back, to_evaluate = redis.call('ZCOUNT', evaluations, '-inf', int(now)) })
