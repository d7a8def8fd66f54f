-- Puts off the sweep of pools in which nothing is due, because the leases that a bound was written for were renewed since. Says
-- which pools have to be swept. Costs a ninth of a sweep, and nearly every pool in use comes here once in a TTL.
--
-- Joined behind prelude, due.
--
-- Keys of a bucket:
--   clock  HASH  the bucket's clock
--   due    ZSET  pool -> lower bound of its earliest expiry, ms
--   each pool:
--     config       HASH    the pool's policy
--     leases       ZSET    lease id -> expiry, ms
--     expired      ZSET    lease id -> end, ms; not yet in a tombstone
--     denied       ZSET    holder -> start of its present run of denials, ms
--     blocks       ZSET    entry of parts/blocks.lua -> end of the block, ms
--     events       STREAM  the pool's history
--     block_notes  HASH    the same entry -> end and start of the block, its author and its reason
--
-- Arguments:
--   keep  ms  age at which events are dropped
--   each pool:
--     name  pool  the pool
--
-- Returns:
--   postponed  the sweeps of those that are not named
--
-- With:
--   each due_pool:  those to sweep
--     name  pool  the pool

redis.call('PERSIST', clock)
mark()

-- Whether only a sweep can tell when there is work: the pool was lost or is being deleted, has rules or soon will, or has ends
-- to stamp.
local function needs_a_sweep(policy, expired)
  return not policy[1] or policy[2] or policy[3] or redis.call('EXISTS', expired) == 1
end

for i = 1, pool_count do
  local name, leases, expired = ARGV[name_of + i], KEYS[leases_of + i], KEYS[expired_of + i]
  local policy = redis.call('HMGET', KEYS[config_of + i], 'ttl_ms', 'rules', 'indexing', 'linger_ms')
  local next_at = now
  if not needs_a_sweep(policy, expired) then
    next_at = next_due(leases, KEYS[denied_of + i], lease_period(tonumber(policy[1]), tonumber(policy[4])), 0)
  end
  if now < next_at and next_at < math.huge then
    drop_old(KEYS[blocks_of + i], KEYS[block_notes_of + i], KEYS[events_of + i], keep)
    redis.call('ZADD', due, int(next_at), name)
  else
    add_due_pool(name)
  end
end
return answer('postponed')
