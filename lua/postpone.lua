-- Puts off the sweep of pools in which nothing is due, because the leases that a bound was written for were renewed since. Says
-- which pools have to be swept. Costs a ninth of a sweep, and nearly every pool in use comes here once in a TTL.
--
-- KEYS[1]  clock  HASH  the bucket's clock
-- KEYS[2]  due    ZSET  pool -> lower bound of its earliest expiry, ms
-- KEYS[3..]  pools  for each pool seven keys:
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   expired  ZSET    lease id -> end, ms; not yet in a tombstone
--   denied   ZSET    holder -> begin of its present run of denials, ms
--   blocks   ZSET    holder -> until when it may not acquire, ms
--   events   STREAM  the pool's history
--   notes    HASH    holder -> until when it is blocked, since when, by whom and why
--
-- ARGV[1]    keep_ms  age at which events are dropped
-- ARGV[2..]  names    of the pools
--
-- Returns { 'postponed', seq, now_ms, then the names of those to sweep }
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)
mark()

local due, keep_ms = KEYS[2], tonumber(ARGV[1])

-- Whether only a sweep can tell when there is work: the pool was lost or is being deleted, has rules or soon will, or has ends
-- to stamp.
local function needs_a_sweep(policy, expired)
  return not policy[1] or policy[2] or policy[3] or redis.call('EXISTS', expired) == 1
end

local reply = { 'postponed', int(seq), int(now) }
for i = 2, #ARGV do
  local at = 7 * i - 11
  local policy = redis.call('HMGET', KEYS[at], 'ttl_ms', 'rules', 'indexing', 'linger_ms')
  local next_at = now
  if not needs_a_sweep(policy, KEYS[at + 2]) then
    next_at = next_due(KEYS[at + 1], KEYS[at + 3], lease_period(tonumber(policy[1]), tonumber(policy[4])), 0)
  end
  if now < next_at and next_at < math.huge then
    drop_old(KEYS[at + 4], KEYS[at + 6], KEYS[at + 5], keep_ms)
    redis.call('ZADD', due, int(next_at), ARGV[i])
  else
    reply[#reply + 1] = ARGV[i]
  end
end
return reply
