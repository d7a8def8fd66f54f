-- Gives a holder a seat, unless the pool is full. Pools with rules beyond that: acquire_by_rules.lua.
--
-- KEYS[1]   clock      HASH    the bucket's clock
-- KEYS[2]   due        ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]   config     HASH    the pool's policy
-- KEYS[4]   leases     ZSET    lease id -> expiry, ms
-- KEYS[5]   expired    ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[6]   events     STREAM  the pool's history
-- KEYS[7]   denied     ZSET    holder -> begin of its present run of denials, ms
-- KEYS[8]   blocks     ZSET    holder -> until when it may not acquire, ms
-- KEYS[9]   records    HASH    lease id -> what is known of the lease
-- KEYS[10]  denials    HASH    minute and code -> how many acquires were denied
-- KEYS[11]  notes      HASH    holder -> until when it is blocked, since when, by whom and why
-- KEYS[12]  tombstone  HASH    how the lease with this id ended, if there was one
-- KEYS[13]  repeat     STRING  id of the lease that this idempotency key got; only with a key
--
-- ARGV[1]  pool        name of the pool, for the due index
-- ARGV[2]  id          id for the new lease
-- ARGV[3]  holder      who asks; empty for anonymous
-- ARGV[4]  tenant      sub-account; empty for none
-- ARGV[5]  label       empty for none
-- ARGV[6]  activities  JSON array; empty for none
-- ARGV[7]  platform    empty for none
-- ARGV[8]  margin_ms   how long the records outlive leases that are not renewed
--
-- Returns { status, seq, now_ms, id, expires_at_ms, ttl_ms, fence, generation, in_use, capacity, retry_after_ms, seat, detail }
--   granted         a new lease
--   existing        the lease that this idempotency key already has; only id and expiry are set
--   pool_full       denied; retry_after_ms is when the first seat can come free. Also where this id had a lease that has ended
--   holder_blocked  denied by an operator; retry_after_ms is the rest of the block, detail the reason
--   recovering      data was lost, and those who had a seat come first, or the pool was not put back yet
--   rules           the pool has rules, or an index for rules to come is being made, and acquire_by_rules.lua decides
--   no_pool         there is no such pool
--   unopened        the bucket has no clock; only three fields

local policy = redis.call('HMGET', KEYS[3], 'capacity', 'ttl_ms', 'rules', 'indexing', 'linger_ms')
local capacity, ttl = tonumber(policy[1]), tonumber(policy[2])
if not capacity then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '', '0', '0', '0',
    int(generation), '0', '0', '1000', 'c', '' }
end

if policy[3] or (policy[4] and now <= tonumber(policy[4])) then
  return { 'rules', int(seq), int(now), '', '0', '0', '0', int(generation), '0', '0', '0', 'c', '' }
end

local pool = { name = ARGV[1], due = KEYS[2], leases = KEYS[4], expired = KEYS[5], events = KEYS[6], denied = KEYS[7], blocks = KEYS[8],
  records = KEYS[9], denials = KEYS[10], notes = KEYS[11], capacity = capacity, ttl = ttl,
  period = lease_period(ttl, tonumber(policy[5])), margin_ms = tonumber(ARGV[8]) }
local status, known = decide(pool, { id = ARGV[2], holder = ARGV[3], tenant = ARGV[4], label = ARGV[5], activities = ARGV[6],
  platform = ARGV[7], tombstone = KEYS[12], repeated = KEYS[13] })
if known.fence and pool.writes then
  -- The last call, because nothing takes it back.
  redis.call('ZREM', KEYS[7], ARGV[3])
end
return { status, int(seq), int(now), known.id or '', int(known.expires_at or 0), int(ttl), known.fence or '0', int(generation),
  int(pool.in_use), int(capacity), int(known.retry or 0), 'c', known.detail or '' }
