-- Removes a pool with all that is in it, at one instant. Its tokens are dead from then on, whatever state their leases
-- were in, because the mark says up to which fence the seats were given in it.
--
-- Joined behind prelude, alerts, ends.
--
-- Keys of a pool:
--   clock      HASH    the bucket's clock
--   due        ZSET    pool -> lower bound of its earliest expiry, ms
--   pools      ZSET    the bucket's pools -> version
--   config     HASH    the pool's policy
--   leases     ZSET    lease id -> expiry, ms
--   pool_mark  HASH    what was ended at once in this pool: up to which fence, and why
--   alerts     HASH    what is known of the pool's alerts
--   outbox     STREAM  the bucket's alerts
--   evaluations  ZSET  pool -> when its alerts are to be evaluated, ms
--   each other:  everything else of the pool but what ends by itself within a day
--     key(...)  STRING  of any type
--
-- Arguments:
--   pool    pool  the pool
--   expect  text  any · closed (no policy, as a node of an earlier version leaves it between two calls) · the version it must have
--   keep    ms    how long the mark stays: as long as a token could be shown
--
-- Returns:
--   deleted   nothing of it is left but tombstones and the mark
--   conflict  it is not what was expected; version is the present one
--   no_pool   there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   version  count  of the policy
--   leases   count  how many there were

redis.call('PERSIST', clock)

local version = tonumber(redis.call('HGET', config, 'version') or 0)
local count = redis.call('ZCARD', leases)
if version == 0 and count == 0 and not redis.call('ZSCORE', pools, pool) then
  redis.call('ZREM', due, pool)
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
if version > 0 and expect ~= 'any' and tonumber(expect) ~= version then
  return answer('conflict', { version = version })
end

mark()
end_until(pool_mark, last_fence(), '', 0, keep)
redis.call('HSET', pool_mark, 'deleted', '1')
undo_by('HDEL', pool_mark, 'deleted')
local was = redis.call('HGETALL', config)
if #was > 0 then
  redis.call('DEL', config)
  undo_by('HSET', config, unpack(was))
end
undo_member(due, pool)
redis.call('ZREM', due, pool)
undo_member(pools, pool)
redis.call('ZREM', pools, pool)
local held = redis.call('HGETALL', alerts)
for i = 1, #held, 2 do
  local name = string.match(held[i], '^f:(.*)$')
  if name then
    tell(outbox, name, 'resolved',
      { at = now, since = tonumber(held[i + 1]), ['until'] = now, pool = pool, reason = 'deleted' })
  end
end
-- So that somebody takes these out of the outbox.
undo_member(evaluations, pool)
redis.call('ZADD', evaluations, int(now), pool)
redis.call('HINCRBY', clock, 'revision', 1)
-- The last call, because nothing takes it back.
redis.call('UNLINK', leases, alerts, unpack(KEYS, key_of + 1))
return answer('deleted', { version = version, leases = count })
