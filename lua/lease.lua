-- Reads one live lease.
--
-- KEYS[1]  clock    HASH  the bucket's clock
-- KEYS[2]  config   HASH  the pool's policy
-- KEYS[3]  leases   ZSET  lease id -> expiry, ms
-- KEYS[4]  records  HASH  lease id -> what is known of the lease
-- KEYS[5]  seats    HASH  seats in use: all, overdraft, named, t:<tenant>
--
-- ARGV[1]  id  id of the lease
--
-- Returns { status, seq, now_ms, score_ms, expires_at_ms, ttl_ms, renewed_with, changed_ms, generation, in_use,
--           capacity, record }
--   read        renewed_with is the TTL before the last change of it, which was at changed_ms; record is packed as in
--               parts/record.lua, and empty if there is none
--   ended       it is not live
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

local config, leases, records, id = KEYS[2], KEYS[3], KEYS[4], ARGV[1]

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'schedule', 'indexed', 'ttl_before_ms', 'ttl_changed_ms',
  'indexing', 'linger_ms')
if not policy[1] then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0', '0', '0', '0', '0', int(generation), '0', '0', '' }
end
local ttl = tonumber(policy[2])
local period = lease_period(ttl, tonumber(policy[8]))
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
local status = score > live_from(period) and 'read' or 'ended'
local in_use = policy[4] and not policy[7] and tonumber(redis.call('HGET', KEYS[5], 'all') or 0) or count_live(leases, period)
return { status, int(seq), int(now), int(score), int(ends_at(score, period)), int(ttl), policy[5] or '0', policy[6] or '0',
  int(generation), int(in_use), int(capacity_at(policy[1], policy[3] or nil, now)), redis.call('HGET', records, id) or '' }
