-- Notes the result of an attempt to deliver, of one delivery or of several that went as one message. Only the node that still has
-- a delivery may do it.
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
--   until_at   timestamp              end of the caller's claim
--   pause      ms                     when to try again
--   keep       count                  maximum of delivered ones that are kept
--   keep_dead  count                  maximum of dead ones that are kept
--   each delivery:
--     id       text                   the delivery
--     outcome  delivered|failed|dead  failed is to be tried again
--     record   json                   as it is now
--
-- Returns:
--   finished  what was the caller's is noted
--
-- With:
--   noted  count  deliveries that were the caller's; the others are another node's, or gone

local noted = 0
for i = 1, delivery_count do
  local id, outcome = ARGV[id_of + i], ARGV[outcome_of + i]
  if tonumber(redis.call('ZSCORE', claims, id) or 0) == until_at then
    redis.call('ZREM', claims, id)
    undo_by('ZADD', claims, int(until_at), id)
    if redis.call('HEXISTS', deliveries, id) == 1 then
      noted = noted + 1
      undo_fields(deliveries, id)
      redis.call('HSET', deliveries, id, ARGV[record_of + i])
      undo_member(pending, id)
      if outcome == 'failed' then
        redis.call('ZADD', pending, int(now + pause), id)
      else
        local list = outcome == 'dead' and dead or delivered
        redis.call('ZREM', pending, id)
        undo_member(list, id)
        redis.call('ZADD', list, int(now), id)
      end
    end
  end
end

-- The oldest are forgotten.
local function trim(list, maximum)
  local old = redis.call('ZRANGE', list, 0, -maximum - 1)
  for i = 1, math.min(#old, 1000) do
    undo_member(list, old[i])
    redis.call('ZREM', list, old[i])
    undo_fields(deliveries, old[i])
    redis.call('HDEL', deliveries, old[i])
  end
end
trim(delivered, keep)
trim(dead, keep_dead)
return answer('finished', { noted = noted })
