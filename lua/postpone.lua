-- Puts off the sweep of pools in which nothing is due, because the leases that a bound was written for were renewed since. Says
-- which pools have to be swept. Costs a twelfth of a sweep, and nearly every pool in use comes here once in a TTL.
--
-- KEYS[1]    clock  HASH  the bucket's clock
-- KEYS[2]    due    ZSET  pool -> lower bound of its earliest expiry, ms
-- KEYS[3..]  pools  for each pool six keys:
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   expired  ZSET    lease id -> end, ms; not yet in the record
--   denied   ZSET    holder -> begin of its present run of denials, ms
--   blocks   ZSET    holder -> until when it may not acquire, ms
--   events   STREAM  the pool's history
--
-- ARGV[1]    keep_ms  age at which events are dropped
-- ARGV[2..]  names    of the pools
--
-- Returns { 'postponed', seq, now_ms, then the names of those to sweep }
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)
mark()

local due, keep_from = KEYS[2], int(now - tonumber(ARGV[1]))

-- The next instant at which a sweep has something to do in a pool; nil if it has already, or if only a sweep can tell.
local function next_work(config, leases, expired, denied)
  local policy = redis.call('HMGET', config, 'ttl_ms', 'rules')
  if not policy[1] or policy[2] or redis.call('EXISTS', expired) == 1 then
    return nil
  end
  local lease = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  local run = redis.call('ZRANGE', denied, 0, 0, 'WITHSCORES')
  local at = run[1] and tonumber(run[2]) + 120000 or math.huge
  if lease[1] then
    at = math.min(at, ends_at(tonumber(lease[2]), tonumber(policy[1])))
  end
  return now < at and at < math.huge and at or nil
end

local reply = { 'postponed', int(seq), int(now) }
for i = 2, #ARGV do
  local at = 6 * i - 9
  local next_at = next_work(KEYS[at], KEYS[at + 1], KEYS[at + 2], KEYS[at + 3])
  if next_at then
    redis.call('ZREMRANGEBYSCORE', KEYS[at + 4], '-inf', int(now))
    redis.call('XTRIM', KEYS[at + 5], 'MINID', '~', keep_from)
    redis.call('ZADD', due, int(next_at), ARGV[i])
  else
    reply[#reply + 1] = ARGV[i]
  end
end
return reply
