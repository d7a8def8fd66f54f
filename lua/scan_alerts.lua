-- Says which pools of a bucket have alerts to evaluate, and tells of outages and losses of the bucket itself. Nodes take turns:
-- who comes soon after another one learns no more than how far the outbox is.
--
-- What happens in a pool notes it in `evaluations`, so a pool in which nothing happens costs nothing. Nodes of versions that do not
-- know that set leave it out: what they may have done is found by a look at the pools that the caller names.
--
-- Joined behind prelude, alerts.
--
-- Keys of a bucket:
--   clock        HASH    the bucket's clock
--   watch        HASH    `evaluated`: when a node last had its turn; and what was told of the bucket: `back`, `lost`
--   outbox       STREAM  the bucket's alerts
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   each pool:  to look at
--     events  STREAM  the pool's history
--     alerts  HASH    what is known of the pool's alerts
--
-- Arguments:
--   every  ms     a turn is not given sooner; 0 for whoever has it already
--   limit  count  maximum of pools that are named
--   each pool:
--     name  pool  the pool
--
-- Returns:
--   looked  it is the caller's turn
--   fresh   another node looked a moment ago
--
-- With:
--   last  text  last entry of the outbox; empty if there is none
--   each due_pool:  those whose alerts are to be evaluated, the longest waiting first
--     name  pool  the pool

local function last_of(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1] or ''
end

-- Another field than that of versions before: they look at all pools, and must not be kept from their turn.
local seen = redis.call('HMGET', watch, 'evaluated', 'back', 'lost')
if seen[1] and now < tonumber(seen[1]) + every then
  return answer('fresh', { last = last_of(outbox) })
end

redis.call('PERSIST', clock)
mark()
undo_fields(watch, 'evaluated', 'back', 'lost')
redis.call('HSET', watch, 'evaluated', int(now), 'back', int(back))
-- The first look of all has no news: what was before is not its own.
local told = tonumber(seen[2] or back)
if back > told then
  tell(outbox, 'store.outage', 'happened', { at = now, since = math.max(floor, told), ['until'] = back })
end
if lost and seen[3] ~= int(generation) and now < generation + 86400000 then
  tell(outbox, 'store.data_lost', 'happened', { at = now, since = generation, ['until'] = generation + 60000 })
  redis.call('HSET', watch, 'lost', int(generation))
end

for i = 1, pool_count do
  local known = redis.call('HMGET', KEYS[alerts_of + i], 'cursor', 'look_at')
  local entries = redis.call('XREVRANGE', KEYS[events_of + i], '+', '-', 'COUNT', 2)
  -- A pool in which nothing happened but that it was made has one event, and nothing to evaluate.
  local event = (known[1] or entries[2]) and entries[1] and entries[1][1] or ''
  local look_at = event ~= '' and event ~= known[1] and int(now) or known[2]
  if look_at then
    undo_member(evaluations, ARGV[name_of + i])
    redis.call('ZADD', evaluations, 'LT', look_at, ARGV[name_of + i])
  end
end
add_each_due_pool(redis.call('ZRANGE', evaluations, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, limit))
return answer('looked', { last = last_of(outbox) })
