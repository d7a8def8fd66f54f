-- Says how an attempt to deliver ended. Only whoever still has the delivery may say so.
--
-- KEYS[1]  clock       HASH  the clock of what is done about alerts
-- KEYS[2]  claims      ZSET  delivery id -> until when a node sends it, ms
-- KEYS[3]  deliveries  HASH  delivery id -> its record, JSON
-- KEYS[4]  pending     ZSET  of the webhook: delivery id -> when it is due, ms
-- KEYS[5]  delivered   ZSET  of the webhook: delivery id -> when it arrived, ms
-- KEYS[6]  dead        ZSET  of the webhook: delivery id -> when it was given up, ms
--
-- ARGV[1]  id         of the delivery
-- ARGV[2]  until_ms   until when the caller has it
-- ARGV[3]  outcome    delivered, failed (to be tried again) or dead
-- ARGV[4]  record     as it is now, JSON
-- ARGV[5]  pause_ms   when to try again
-- ARGV[6]  keep       most delivered ones that are kept
-- ARGV[7]  keep_dead  most dead ones that are kept
--
-- Returns { status }
--   finished  it is noted
--   lost      another node has it, or it is gone
--   unopened  there is no clock; three fields

local claims, deliveries, pending = KEYS[2], KEYS[3], KEYS[4]
local id, outcome = ARGV[1], ARGV[3]

if tonumber(redis.call('ZSCORE', claims, id) or 0) ~= tonumber(ARGV[2]) then
  return { 'lost' }
end
redis.call('ZREM', claims, id)
undo_by('ZADD', claims, ARGV[2], id)
if redis.call('HEXISTS', deliveries, id) == 0 then
  return { 'lost' }
end
undo_fields(deliveries, id)
redis.call('HSET', deliveries, id, ARGV[4])

local function put_away(list, keep)
  undo_member(pending, id)
  redis.call('ZREM', pending, id)
  undo_member(list, id)
  redis.call('ZADD', list, int(now), id)
  local old = redis.call('ZRANGE', list, 0, -keep - 1)
  for i = 1, math.min(#old, 1000) do
    undo_member(list, old[i])
    redis.call('ZREM', list, old[i])
    undo_fields(deliveries, old[i])
    redis.call('HDEL', deliveries, old[i])
  end
end

if outcome == 'delivered' then
  put_away(KEYS[5], tonumber(ARGV[6]))
elseif outcome == 'dead' then
  put_away(KEYS[6], tonumber(ARGV[7]))
else
  undo_member(pending, id)
  redis.call('ZADD', pending, int(now + tonumber(ARGV[5])), id)
end
return { 'finished' }
