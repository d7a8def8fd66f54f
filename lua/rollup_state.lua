-- Says how far the events of a pool are rolled up, and what the next roll-up needs beside events, at one instant.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   rolled   STRING  how far the events are rolled up
--   denials  HASH    minute and code -> how many acquires were denied
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   events   STREAM  the pool's history
--
-- Returns:
--   read  always
--
-- With:
--   checkpoint  text?  how far the events are rolled up; none if they never were
--   silences    text   begin and end, ms, of the times in which no node could work, the last one perhaps not over
--   in_use      count  seats that are taken, as the events up to `last` say if none of them is lost
--   last        text?  id of the last event
--   each count:
--     minute_and_code  text   of some denials
--     denied           count  how many

local silences = redis.call('HGET', clock, 'silences') or ''
if returned then
  silences = silences .. int(tick) .. ' ' .. int(now) .. ' '
end
local in_use
local indexed = redis.call('HMGET', config, 'indexed', 'indexing')
if indexed[1] and not indexed[2] then
  in_use = redis.call('HGET', seats, 'all') or '0'
else
  -- Those whose end was not written yet included.
  in_use = redis.call('ZCARD', leases)
end
local last = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)
add_each_count(redis.call('HGETALL', denials))
return answer('read', { checkpoint = redis.call('GET', rolled), silences = silences, in_use = in_use, last = last[1] and last[1][1] })
