-- Decides on a renew whose lease is not live, or whose record is gone: resumed, rebuilt after a loss of
-- data, or lost with its reason. A seat is taken again only if one is free.
--
-- KEYS[1]  clock    HASH    the bucket's clock
-- KEYS[2]  due      ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]  config   HASH    the pool's policy
-- KEYS[4]  leases   ZSET    lease id -> expiry, ms
-- KEYS[5]  expired  ZSET    lease id -> end, ms; not yet in the record
-- KEYS[6]  events   STREAM  the pool's history
-- KEYS[7]  blocks   ZSET    holder -> until when it may not acquire, ms
-- KEYS[8]  record   HASH    what is known of the lease, or how it ended
--
-- ARGV[1]   pool        name of the pool, for the due index
-- ARGV[2]   id          id of the lease
-- ARGV[3]   generation  of the bucket when the token was signed
-- ARGV[4]   started_ms  begin of the lease
-- ARGV[5]   fence       of the lease
-- ARGV[6]   holder      who asks; empty for anonymous
-- ARGV[7]   tenant      sub-account; empty for none
-- ARGV[8]   label       from the request or the token; empty for none
-- ARGV[9]   activities  JSON array from the request, behind '='; empty to keep what is known
-- ARGV[10]  platform    empty for none
-- ARGV[11]  margin_ms   how long the record outlives a lease that is not renewed
--
-- Returns { status, seq, now_ms, expires_at_ms, ttl_ms, generation, activities, reason, blocked_until_ms }
--   renewed          it was live after all; it keeps a longer term that it was promised
--   resumed          it had expired, and has its seat again
--   rebuilt          its data was lost, and it has its seat again
--   lost_expired     lost; time ended it
--   lost_released    lost; the holder gave it back
--   lost_terminated  lost; an operator ended it, for `reason`, and blocked the holder until then (0 for not at all)
--   lost_evicted     lost; a policy ended it
--   recovering       data was lost, and the pool was not put back yet
--   no_pool          there is no such pool
--   unopened         the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local due, config, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, blocks, record = KEYS[6], KEYS[7], KEYS[8]
local pool, id, signed_in = ARGV[1], ARGV[2], tonumber(ARGV[3])
local started, fence, holder, tenant = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local label, activities, platform, margin_ms = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11])

mark()

local function answer(status, expires_at, ttl, known_activities, reason, blocked_until)
  return { status, int(seq), int(now), int(expires_at), int(ttl), int(generation), known_activities, reason,
    int(blocked_until) }
end

local known = redis.call('HMGET', record, 'reason', 'message', 'blocked_until', 'ended', 'activities')
if known[1] and known[1] ~= 'expired' then
  return answer('lost_' .. known[1], 0, 0, '', known[2] or '', tonumber(known[3] or 0))
end

-- A token of an older generation shows that data was lost: newcomers wait, also if no node remembers.
if signed_in < generation and state[8] ~= '1' then
  redis.call('HSET', clock, 'lost', '1')
  state[8] = '1'
end

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'resume_window_ms')
local capacity, ttl, window = tonumber(policy[1]), tonumber(policy[2]), tonumber(policy[3])
if not capacity then
  return answer(may_be_lost() and 'recovering' or 'no_pool', 0, 0, '', '', 0)
end

if activities ~= '' then
  activities = string.sub(activities, 2)
else
  activities = known[5] or ''
end

local score = tonumber(redis.call('ZSCORE', leases, id) or 0)

local function seat(status)
  local expires_at = now + ttl
  if status == 'renewed' then
    expires_at = math.max(expires_at, score)
  end
  redis.call('ZADD', leases, int(expires_at), id)
  redis.call('ZADD', due, 'LT', int(expires_at), pool)
  redis.call('HDEL', record, 'reason', 'ended')
  local fields = { 'started', started, 'fence', int(fence) }
  for name, value in pairs({ holder = holder, tenant = tenant, label = label, activities = activities, platform = platform }) do
    if value ~= '' then
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  redis.call('HSET', record, unpack(fields))
  redis.call('PEXPIRE', record, int(ttl + margin_ms))
  return answer(status, expires_at, ttl, activities, '', 0)
end

if score > live_from(ttl) then
  return seat('renewed')
end

-- More may be due than one call ends; this lease must be among those that are.
end_due(leases, expired, events, ttl, 64)
if score > 0 and redis.call('ZREM', leases, id) == 1 then
  redis.call('ZADD', expired, int(ends_at(score, ttl)), id)
  record_event(events, 'ended', id, ends_at(score, ttl), holder, tenant, 'expired')
end

local ended = tonumber(redis.call('ZSCORE', expired, id) or known[4])
local status
if ended then
  status = now - ended <= window and 'resumed' or 'lost_expired'
elseif signed_in < generation then
  -- Everything was lost. Tombstones too, so a seat comes back only as long as one could be resumed.
  status = now <= generation + math.max(ttl, window) and 'rebuilt' or 'lost_expired'
else
  -- Tombstones live longer than tokens: what has none was lost with the last writes before a failover.
  status = 'rebuilt'
end

local blocked_until = holder ~= '' and tonumber(redis.call('ZSCORE', blocks, holder) or 0) or 0
if blocked_until > now then
  return answer('lost_terminated', 0, ttl, '', '', blocked_until)
end

if status == 'lost_expired' or count_live(leases, ttl) >= capacity then
  return answer('lost_expired', 0, ttl, '', '', 0)
end

redis.call('ZREM', expired, id)
if fence > (tonumber(state[9]) or 0) then
  redis.call('HSET', clock, 'fence', int(fence))
end
record_event(events, status, id, now, holder, tenant, '')
return seat(status)
