-- Says how far the events of a pool are rolled up, and what the next roll-up needs beside events, at one instant.
--
-- KEYS[1]  clock    HASH    the bucket's clock
-- KEYS[2]  rolled   STRING  how far the events are rolled up
-- KEYS[3]  denials  HASH    minute and code -> how many acquires were denied
-- KEYS[4]  config   HASH    the pool's policy
-- KEYS[5]  leases   ZSET    lease id -> expiry, ms
-- KEYS[6]  seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[7]  events   STREAM  the pool's history
--
-- Returns { 'read', seq, now_ms, rolled, silences, seats, last, then minute and code, and count of each }
--   rolled    empty if they never were
--   silences  begin and end, ms, of the times in which no node could work, the last one perhaps not over
--   seats     that are taken, as the events up to `last` say if none of them is lost
--   last      id of the last event; empty for none
--   unopened  the bucket has no clock; only three fields

local silences = redis.call('HGET', clock, 'silences') or ''
if returned then
  silences = silences .. int(tick) .. ' ' .. int(now) .. ' '
end
local seats
local indexed = redis.call('HMGET', KEYS[4], 'indexed', 'indexing')
if indexed[1] and not indexed[2] then
  seats = redis.call('HGET', KEYS[6], 'all') or '0'
else
  -- Those whose end was not written yet included.
  seats = int(redis.call('ZCARD', KEYS[5]))
end
local last = redis.call('XREVRANGE', KEYS[7], '+', '-', 'COUNT', 1)
local reply = { 'read', int(seq), int(now), redis.call('GET', KEYS[2]) or '', silences, seats, last[1] and last[1][1] or '' }
local counts = redis.call('HGETALL', KEYS[3])
for i = 1, #counts do
  reply[#reply + 1] = counts[i]
end
return reply
