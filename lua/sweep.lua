-- Ends what is due in a pool and says whose records have to be stamped with it. Nothing waits for this:
-- whoever counts, counts only those who live.
--
-- KEYS[1]  clock    HASH    the bucket's clock
-- KEYS[2]  due      ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]  config   HASH    the pool's policy
-- KEYS[4]  leases   ZSET    lease id -> expiry, ms
-- KEYS[5]  expired  ZSET    lease id -> end, ms; not yet in the record
-- KEYS[6]  events   STREAM  the pool's history
-- KEYS[7]  denied   ZSET    holder -> begin of its present run of denials, ms
-- KEYS[8]  blocks   ZSET    holder -> until when it may not acquire, ms
--
-- ARGV[1]  pool     name of the pool
-- ARGV[2]  limit    at most so many leases, and so many ids
-- ARGV[3]  keep_ms  age at which events are dropped
--
-- Returns { 'swept', seq, now_ms, ended, then ids }
--   ended     how many leases were ended
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local due, config, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, denied, blocks = KEYS[6], KEYS[7], KEYS[8]
local pool, limit, keep_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- Leases of a pool that was lost or is being deleted end by their own score.
local ttl = tonumber(redis.call('HGET', config, 'ttl_ms') or 0)
mark()

local ended = end_due(leases, expired, events, ttl, limit)
local reply = { 'swept', int(seq), int(now), int(ended) }
local ids = redis.call('ZRANGE', expired, 0, limit - 1)
for i = 1, #ids do
  reply[#reply + 1] = ids[i]
end

-- Who was denied for two minutes begins a new run with its next denial.
redis.call('ZREMRANGEBYSCORE', denied, '-inf', int(now - 120000))
redis.call('ZREMRANGEBYSCORE', blocks, '-inf', int(now))
redis.call('XTRIM', events, 'MINID', '~', int(now - keep_ms))

-- Under an amnesty the earliest lease may be overdue by its score and yet live.
local lease = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
local run = redis.call('ZRANGE', denied, 0, 0, 'WITHSCORES')
if lease[1] then
  redis.call('ZADD', due, int(ends_at(tonumber(lease[2]), ttl)), pool)
elseif run[1] then
  redis.call('ZADD', due, int(tonumber(run[2]) + 120000), pool)
elseif #ids < limit then
  redis.call('ZREM', due, pool)
end
return reply
