-- Creates a pool or replaces its policy, at one instant for all nodes.
--
-- KEYS[1]  clock   HASH    the bucket's clock
-- KEYS[2]  pools   ZSET    the bucket's pools -> version
-- KEYS[3]  config  HASH    the pool's policy
-- KEYS[4]  events  STREAM  the pool's history
--
-- ARGV[1]  pool     name of the pool
-- ARGV[2]  expect   any · none (must not exist) · some (must exist) · the version it must have
-- ARGV[3]  version  0; or the version of a lost policy that a node puts back, which yields to a newer one
-- ARGV[4]  policy   JSON, as operators read it
-- ARGV[5]  capacity
-- ARGV[6]  ttl_ms
-- ARGV[7]  linger_ms
-- ARGV[8]  resume_window_ms
--
-- Returns { status, seq, now_ms, version }
--   created   it is new
--   replaced  it has a new policy, which may be the same
--   kept      the one that is there is not older than the one put back
--   conflict  it is not what was expected; version is the present one, 0 for none
--   unopened  the bucket has no clock; only three fields

local pools, config, events = KEYS[2], KEYS[3], KEYS[4]
local pool, expect, put_back, policy = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local capacity, ttl = ARGV[5], ARGV[6]

local before = redis.call('HMGET', config, 'version', 'ttl_ms')
local version = tonumber(before[1] or 0)

if put_back > 0 then
  if version >= put_back then
    return { 'kept', int(seq), int(now), int(version) }
  end
elseif (expect == 'none' and version > 0) or (expect == 'some' and version == 0)
  or (tonumber(expect) and tonumber(expect) ~= version) then
  return { 'conflict', int(seq), int(now), int(version) }
end

mark()
-- From the clock, so that a pool that was deleted and made again does not repeat an old version.
local new_version = put_back > 0 and put_back or math.max(version + 1, now)
redis.call('HSET', config, 'version', int(new_version), 'policy', policy, 'capacity', capacity, 'ttl_ms', ttl,
  'linger_ms', ARGV[7], 'resume_window_ms', ARGV[8])
if before[2] and before[2] ~= ttl then
  -- From the expiry and the TTL follows the last beat; leases renewed before this need the old TTL.
  redis.call('HSET', config, 'ttl_before_ms', before[2], 'ttl_changed_ms', int(now))
end
redis.call('ZADD', pools, int(new_version), pool)
redis.call('HSET', clock, 'longest_ttl', int(math.max(tonumber(state[7]) or 0, tonumber(ttl))))
redis.call('HINCRBY', clock, 'revision', 1)
record_event(events, 'configured', '', now, '', '', capacity)
return { version > 0 and 'replaced' or 'created', int(seq), int(now), int(new_version) }
