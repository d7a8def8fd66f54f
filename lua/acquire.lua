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

local due, config, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, denied, blocks, records, repeated = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[13]
local pool, id, holder, tenant = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local label, activities, platform, margin_ms = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8])

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'rules', 'indexing', 'linger_ms')
local capacity, ttl = tonumber(policy[1]), tonumber(policy[2])
if not capacity then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '', '0', '0', '0',
    int(generation), '0', '0', '1000', 'c', '' }
end

if policy[3] or (policy[4] and now <= tonumber(policy[4])) then
  return { 'rules', int(seq), int(now), '', '0', '0', '0', int(generation), '0', '0', '0', 'c', '' }
end

local period = lease_period(ttl, tonumber(policy[5]))

local function refuse(status, in_use, retry_after_ms, detail)
  return { status, int(seq), int(now), '', '0', int(ttl), '0', int(generation),
    int(in_use), int(capacity), int(retry_after_ms), 'c', detail or '' }
end

-- The same request again, because the reply was lost on the way to the node.
local own = tonumber(redis.call('ZSCORE', leases, id) or 0)
if own > live_from(period) then
  local in_use = count_live(leases, period)
  local record = read_record(records, id)
  return { 'granted', int(seq), int(now), id, int(ends_at(own, period)), int(ttl), record and record[FENCE] or '0',
    int(generation), int(in_use), int(capacity), '0', 'c', '' }
end

-- A copy of a request that comes late, after its lease was given back: it must not take the seat once more.
if redis.call('EXISTS', KEYS[12]) == 1 then
  return refuse('pool_full', count_live(leases, period), 1000)
end

local earlier
if repeated then
  earlier = redis.call('GET', repeated)
  local score = earlier and tonumber(redis.call('ZSCORE', leases, earlier) or 0)
  if score and score > live_from(period) then
    return { 'existing', int(seq), int(now), earlier, int(ends_at(score, period)), int(ttl), '0',
      int(generation), int(count_live(leases, period)), int(capacity), '0', 'c', '' }
  end
end

if state[8] == '1' and now < generation + ttl then
  return refuse('recovering', count_live(leases, period), generation + ttl - now)
end

-- The first write. It is one that Redis refuses when memory is full, so nothing is half done.
mark()

local in_use
if end_due(leases, expired, events, period, 64) < 64 then
  in_use = redis.call('ZCARD', leases)
else
  in_use = count_live(leases, period)
end

local blocked_until = holder ~= '' and tonumber(redis.call('ZSCORE', blocks, holder) or 0) or 0
local code = blocked_until > now and 'holder_blocked' or in_use >= capacity and 'pool_full'
if code then
  -- Each denial is counted, but only the first of a run is an event, and there is a bound on runs: a crowd cannot
  -- fill the memory.
  if redis.call('ZADD', denied, 'NX', int(now), holder) == 1 then
    undo_by('ZREM', denied, holder)
    if redis.call('ZCARD', denied) > 10000 then
      redis.call('ZREM', denied, holder)
    else
      record_event(events, 'denied', '', now, holder, tenant, code)
      redis.call('ZADD', due, 'LT', int(now + 120000), pool)
    end
  end
  add(KEYS[10], int((now - now % 60000) / 60000) .. ':' .. code, 1)
  if code == 'holder_blocked' then
    return refuse(code, in_use, blocked_until - now, reason_of_block(KEYS[11], holder, blocked_until))
  end
  return refuse(code, in_use, first_free_in(leases, ttl, period, in_use, capacity))
end

local expires_at = now + ttl
local fence = math.max((tonumber(state[9]) or 0) + 1, now * 1000 + time[2] % 1000)
redis.call('ZADD', leases, int(expires_at), id)
undo_by('ZREM', leases, id)
redis.call('HSET', clock, 'fence', int(fence))

write_record(records, id, { int(fence), holder, tenant, int(now), '', platform, label, activities })
keep_records(records, ttl, margin_ms)
redis.call('ZADD', due, 'LT', int(expires_at), pool)
if repeated then
  redis.call('SET', repeated, id, 'PX', int(ttl + REPEATED_MS))
  if earlier then
    undo_by('SET', repeated, earlier, 'KEEPTTL')
  else
    undo_by('DEL', repeated)
  end
end
record_event(events, 'started', id, now, holder, tenant, '')
-- The last call, because nothing takes it back.
redis.call('ZREM', denied, holder)

return { 'granted', int(seq), int(now), id, int(expires_at), int(ttl), int(fence), int(generation),
  int(in_use + 1), int(capacity), '0', 'c', '' }
