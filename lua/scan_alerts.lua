-- Says which pools of a bucket have something to judge, and tells of outages and losses of the bucket itself.
--
-- Costs a pool in which nothing happened two reads. Nodes take turns: who comes soon after another one learns no more
-- than how far the outbox is.
--
-- Joined behind prelude, alerts.
--
-- Keys of a bucket:
--   clock   HASH    the bucket's clock
--   watch   HASH    `looked`, and what was reported of the bucket: `back`, `lost`
--   outbox  STREAM  the bucket's alerts
--   each pool:
--     events  STREAM  the pool's history
--     alerts  HASH    what is known of the pool's alerts
--
-- Arguments:
--   every  ms  a look is not repeated sooner
--
-- Returns:
--   looked  it is the caller's turn
--   fresh   another node looked a moment ago
--
-- With:
--   last  text  last entry of the outbox; empty before the first
--   each changed_pool:  those that have something to judge
--     place  count  its place among those asked for, from 0

local function last_of(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1] or ''
end

local seen = redis.call('HMGET', watch, 'looked', 'back', 'lost')
if seen[1] and now < tonumber(seen[1]) + every then
  return answer('fresh', { last = last_of(outbox) })
end

redis.call('PERSIST', clock)
mark()
undo_fields(watch, 'looked', 'back', 'lost')
redis.call('HSET', watch, 'looked', int(now), 'back', int(back))
-- The first look of all has no news: what was before is not its own.
local told = tonumber(seen[2] or back)
if back > told then
  tell(outbox, 'store.outage', 'happened', { at = now, since = math.max(floor, told), ['until'] = back })
end
if lost and seen[3] ~= int(generation) and now < generation + 86400000 then
  tell(outbox, 'store.data_lost', 'happened', { at = now, since = generation, ['until'] = generation + 60000 })
  redis.call('HSET', watch, 'lost', int(generation))
end

local last = last_of(outbox)
for i = 1, pool_count do
  local known = redis.call('HMGET', KEYS[alerts_of + i], 'cursor', 'look_at')
  local event, place = last_of(KEYS[events_of + i]), i - 1
  if (event ~= '' and event ~= known[1]) or (known[2] and tonumber(known[2]) <= now) then
    add_changed_pool(place)
  end
end
return answer('looked', { last = last })
