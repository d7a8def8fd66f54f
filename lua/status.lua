-- Reads a pool: its policy and how full it is.
--
-- KEYS[1]  clock   HASH  the bucket's clock
-- KEYS[2]  config  HASH  the pool's policy
-- KEYS[3]  leases  ZSET  lease id -> expiry, ms
--
-- Returns { status, seq, now_ms, in_use, capacity, version, policy }
--   read      policy is the JSON that was put
--   no_pool   there is no such pool
--   unopened  the bucket has no clock; only three fields

local config, leases = KEYS[2], KEYS[3]

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'version', 'policy')
if not policy[1] then
  return { 'no_pool', int(seq), int(now), '0', '0', '0', '' }
end
local in_use = count_live(leases, tonumber(policy[2]))
return { 'read', int(seq), int(now), int(in_use), policy[1], policy[3], policy[4] }
