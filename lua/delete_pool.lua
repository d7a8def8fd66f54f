-- Removes a pool. While it has leases it only closes it: the node terminates them and asks again.
--
-- KEYS[1]   clock    HASH    the bucket's clock
-- KEYS[2]   due      ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]   pools    ZSET    the bucket's pools -> version
-- KEYS[4]   config   HASH    the pool's policy
-- KEYS[5]   leases   ZSET    lease id -> expiry, ms
-- KEYS[6]   expired  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[7]   events   STREAM  the pool's history
-- KEYS[8]   denied   ZSET    holder -> begin of its present run of denials, ms
-- KEYS[9]   blocks   ZSET    holder -> until when it may not acquire, ms
-- KEYS[10]  alerts   HASH    what is known of the pool's alerts
-- KEYS[11]  outbox   STREAM  the bucket's alerts
-- KEYS[12..] rest  how far the events are rolled up, what is known of leases, and the keys that only pools with rules have
--
-- ARGV[1]  pool    name of the pool
-- ARGV[2]  expect  any, or the version it must have
--
-- Returns { status, seq, now_ms, version, then the ids of at most 200 leases }
--   deleted   nothing of it is left but tombstones
--   closed    it gives no seats any more, and these leases are to be terminated
--   conflict  it is not what was expected; version is the present one
--   no_pool   there is no such pool
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local due, pools, config, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local pool, expect = ARGV[1], ARGV[2]

local version = tonumber(redis.call('HGET', config, 'version') or 0)
if version == 0 and not redis.call('ZSCORE', pools, pool) then
  return { 'no_pool', int(seq), int(now), '0' }
end
if version > 0 and expect ~= 'any' and tonumber(expect) ~= version then
  return { 'conflict', int(seq), int(now), int(version) }
end

mark()
redis.call('DEL', config)
local reply = { 'closed', int(seq), int(now), int(version) }
local ids = redis.call('ZRANGE', leases, 0, 199)
if #ids > 0 then
  for i = 1, #ids do
    reply[#reply + 1] = ids[i]
  end
  return reply
end

redis.call('ZREM', due, pool)
redis.call('ZREM', pools, pool)
local held = redis.call('HGETALL', KEYS[10])
for i = 1, #held, 2 do
  local name = string.match(held[i], '^f:(.*)$')
  if name then
    tell(KEYS[11], name, 'resolved',
      { at = now, since = tonumber(held[i + 1]), ['until'] = now, pool = pool, reason = 'deleted' })
  end
end
redis.call('UNLINK', expired, KEYS[7], KEYS[8], KEYS[9], KEYS[10])
for i = 12, #KEYS do
  redis.call('UNLINK', KEYS[i])
end
redis.call('HINCRBY', clock, 'revision', 1)
return { 'deleted', int(seq), int(now), int(version) }
