-- Gives a holder a seat, unless the pool is full. Pools with rules beyond that: acquire_by_rules.lua.
--
-- Joined behind prelude, record, blocks, newcomer.
--
-- Keys of a pool:
--   clock           HASH    the bucket's clock
--   due             ZSET    pool -> lower bound of its earliest expiry, ms
--   config          HASH    the pool's policy
--   leases          ZSET    lease id -> expiry, ms
--   expired         ZSET    lease id -> end, ms; not yet in a tombstone
--   events          STREAM  the pool's history
--   denied          ZSET    holder -> start of its present run of denials, ms
--   blocks          ZSET    holder -> end of its block, ms
--   records         HASH    lease id -> what is known of the lease
--   denials         HASH    minute and code -> how many acquires were denied
--   block_notes     HASH    holder -> end and start of its block, its author and its reason
--   tombstone(id)   HASH    how the lease with this id ended, if there was one
--   repeated(...)?  STRING  id of the lease that this idempotency key got; only with a key
--
-- Arguments:
--   name        pool   the pool, for the due index
--   id          lease  id for the new lease
--   holder      text?  who asks; none is anonymous
--   tenant      text?  sub-account
--   label       text?  what operators read next to the holder
--   activities  json?  array of what the holder is working on
--   platform    text?  what the holder runs on
--   margin      ms     how long the records outlive leases that are not renewed
--   incarnation  count  of the pool that is asked, as the node knows it; 0 if it does not
--
-- Returns:
--   granted         a new lease
--   existing        the lease that this idempotency key already has; of the lease only id and expiry are said
--   pool_full       denied; retry_after is when the first seat can come free. Also where this id had a lease that has ended
--   holder_blocked  denied by an operator; retry_after is the rest of the block, detail the reason
--   recovering      data was lost, and those who had a seat come first, or the pool was not put back yet
--   changed         there is another pool of this name by now. A copy of a request that comes late gets no seat in it
--   rules           the pool has rules, or an index for rules to come is being made, and acquire_by_rules.lua decides
--   no_pool         there is no such pool
--
-- With:
--   id           lease?     the lease
--   expires_at   timestamp  when it ends if it is not renewed
--   ttl          ms         of the pool; 0 only where there is no pool
--   fence        count      of the lease
--   generation   count      of the bucket, for the token
--   in_use       count      live leases of the pool
--   capacity     count      seats of the pool
--   retry_after  ms         time until the answer can be another
--   detail       text?      see holder_blocked

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'rules', 'indexing', 'linger_ms', 'incarnation')
local capacity, ttl = tonumber(policy[1]), tonumber(policy[2])
if not capacity then
  return answer(may_be_lost() and 'recovering' or 'no_pool', { retry_after = 1000 })
end
-- One that is not known any more after a loss of data is taken for the same.
local present = tonumber(policy[6]) or 0
if incarnation > 0 and present > 0 and incarnation ~= present then
  return answer('changed')
end

if policy[3] or (policy[4] and now <= tonumber(policy[4])) then
  return answer('rules')
end

local pool = { name = name, due = due, leases = leases, expired = expired, events = events, denied = denied, blocks = blocks,
  records = records, denials = denials, notes = block_notes, capacity = capacity, ttl = ttl,
  period = lease_period(ttl, tonumber(policy[5])), margin_ms = margin }
local status, known = decide(pool, { id = id, holder = holder, tenant = tenant, label = label, activities = activities,
  platform = platform, tombstone = tombstone, repeated = repeated })
if known.fence and pool.writes then
  -- The last call, because nothing takes it back.
  redis.call('ZREM', denied, holder)
end
return answer(status, { id = known.id, expires_at = known.expires_at, ttl = ttl, fence = known.fence, generation = generation,
  in_use = pool.in_use, capacity = capacity, retry_after = known.retry_after, detail = known.detail })
