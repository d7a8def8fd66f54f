-- Removes a pool with all that is in it, at one instant. Its tokens are dead from then on, whatever state their leases
-- were in, because the mark says up to which fence the seats were given in it.
--
-- KEYS[1]  clock   HASH    the bucket's clock
-- KEYS[2]  due     ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]  pools   ZSET    the bucket's pools -> version
-- KEYS[4]  config  HASH    the pool's policy
-- KEYS[5]  leases  ZSET    lease id -> expiry, ms
-- KEYS[6]  mark    HASH    what was ended at once in this pool: up to which fence, and why
-- KEYS[7]  alerts  HASH    what is known of the pool's alerts
-- KEYS[8]  outbox  STREAM  the bucket's alerts
-- KEYS[9..] rest  everything else of the pool but what ends by itself within a day
--
-- ARGV[1]  pool     name of the pool
-- ARGV[2]  expect   any · closed (no policy, as a node of an earlier version leaves it between two calls) · the version it must have
-- ARGV[3]  keep_ms  how long the mark stays: as long as a token could be shown
--
-- Returns { status, seq, now_ms, version, leases }
--   deleted     nothing of it is left but tombstones and the mark; leases is how many there were
--   conflict    it is not what was expected; version is the present one
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local due, pools, config, leases = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local pool, expect, keep_ms = ARGV[1], ARGV[2], ARGV[3]

local version = tonumber(redis.call('HGET', config, 'version') or 0)
local count = redis.call('ZCARD', leases)
if version == 0 and count == 0 and not redis.call('ZSCORE', pools, pool) then
  redis.call('ZREM', due, pool)
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0', '0' }
end
if version > 0 and expect ~= 'any' and tonumber(expect) ~= version then
  return { 'conflict', int(seq), int(now), int(version), '0' }
end

mark()
end_until(KEYS[6], last_fence(), '', 0, keep_ms)
redis.call('HSET', KEYS[6], 'deleted', '1')
undo_by('HDEL', KEYS[6], 'deleted')
local was = redis.call('HGETALL', config)
if #was > 0 then
  redis.call('DEL', config)
  undo_by('HSET', config, unpack(was))
end
undo_member(due, pool)
redis.call('ZREM', due, pool)
undo_member(pools, pool)
redis.call('ZREM', pools, pool)
local held = redis.call('HGETALL', KEYS[7])
for i = 1, #held, 2 do
  local name = string.match(held[i], '^f:(.*)$')
  if name then
    tell(KEYS[8], name, 'resolved',
      { at = now, since = tonumber(held[i + 1]), ['until'] = now, pool = pool, reason = 'deleted' })
  end
end
redis.call('HINCRBY', clock, 'revision', 1)
-- The last call, because nothing takes it back.
redis.call('UNLINK', leases, KEYS[7], unpack(KEYS, 9))
return { 'deleted', int(seq), int(now), int(version), int(count) }
