-- Reads one live lease.
--
-- Joined behind prelude, schedule.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   records  HASH  lease id -> what is known of the lease
--   seats    HASH  seats in use: all, overdraft, named, t:<tenant>
--
-- Arguments:
--   id  lease  the lease
--
-- Returns:
--   read     it is live
--   ended    it is not live
--   no_pool  there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   score         number     place in the order of expiry, ms
--   expires_at    timestamp  when it ends if it is not renewed
--   ttl           ms         of the pool
--   renewed_with  ms         the TTL before the last change of it
--   changed       timestamp  when that was
--   generation    count      of the bucket
--   in_use        count      live leases of the pool
--   capacity      count      seats of the pool now
--   record        text?      packed as in parts/record.lua

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'schedule', 'indexed', 'ttl_before_ms', 'ttl_changed_ms',
  'indexing', 'linger_ms')
if not policy[1] then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
local ttl = tonumber(policy[2])
local period = lease_period(ttl, tonumber(policy[8]))
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
local status = score > live_from(period) and 'read' or 'ended'
local in_use = policy[4] and not policy[7] and tonumber(redis.call('HGET', seats, 'all') or 0) or count_live(leases, period)
return answer(status, { score = score, expires_at = ends_at(score, period), ttl = ttl, renewed_with = policy[5],
  changed = policy[6], generation = generation, in_use = in_use, capacity = capacity_at(policy[1], policy[3] or nil, now),
  record = redis.call('HGET', records, id) })
