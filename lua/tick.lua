-- Gives a sign of life for a bucket and says which of its pools have leases to end.
--
-- KEYS[1]  clock  HASH  the bucket's clock
-- KEYS[2]  due    ZSET  pool -> lower bound of its earliest expiry, ms
--
-- ARGV[1]  limit  at most so many pools
--
-- Returns { status, seq, now_ms, generation, lost, revision, then the names of pools }
--   ticked    revision counts the changes of pools, lost is 1 after a loss of data
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)
mark()

local reply = { 'ticked', int(seq), int(now), int(generation), state[8] or '0',
  redis.call('HGET', clock, 'revision') or '0' }
local pools = redis.call('ZRANGE', KEYS[2], '-inf', int(now), 'BYSCORE', 'LIMIT', 0, ARGV[1])
for i = 1, #pools do
  reply[#reply + 1] = pools[i]
end
return reply
