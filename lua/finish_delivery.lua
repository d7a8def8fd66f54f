-- Notes the result of an attempt to deliver. Only the node that still has the delivery may do it.
--
-- Joined behind prelude.
--
-- Keys of a webhook:
--   clock       HASH  the clock of what is done about alerts
--   claims      ZSET  delivery id -> end of the claim of the node that sends it, ms
--   deliveries  HASH  delivery id -> its record, JSON
--   pending     ZSET  of the webhook: delivery id -> when it is due, ms
--   delivered   ZSET  of the webhook: delivery id -> when it arrived, ms
--   dead        ZSET  of the webhook: delivery id -> when it was given up, ms
--
-- Arguments:
--   id         text                   the delivery
--   until_at   timestamp              end of the caller's claim
--   outcome    delivered|failed|dead  failed is to be tried again
--   record     json                   as it is now
--   pause      ms                     when to try again
--   keep       count                  maximum of delivered ones that are kept
--   keep_dead  count                  maximum of dead ones that are kept
--
-- Returns:
--   finished  it is noted
--   lost      another node has it, or it is gone

if tonumber(redis.call('ZSCORE', claims, id) or 0) ~= until_at then
  return answer('lost')
end
redis.call('ZREM', claims, id)
undo_by('ZADD', claims, int(until_at), id)
if redis.call('HEXISTS', deliveries, id) == 0 then
  return answer('lost')
end
undo_fields(deliveries, id)
redis.call('HSET', deliveries, id, record)

local function put_away(list, maximum)
  undo_member(pending, id)
  redis.call('ZREM', pending, id)
  undo_member(list, id)
  redis.call('ZADD', list, int(now), id)
  local old = redis.call('ZRANGE', list, 0, -maximum - 1)
  for i = 1, math.min(#old, 1000) do
    undo_member(list, old[i])
    redis.call('ZREM', list, old[i])
    undo_fields(deliveries, old[i])
    redis.call('HDEL', deliveries, old[i])
  end
end

if outcome == 'delivered' then
  put_away(delivered, keep)
elseif outcome == 'dead' then
  put_away(dead, keep_dead)
else
  undo_member(pending, id)
  redis.call('ZADD', pending, int(now + pause), id)
end
return answer('finished')
