-- Makes a delivery due now: a new one, or one that was delivered or given up before.
--
-- Joined behind prelude.
--
-- Keys of a webhook:
--   clock       HASH  the clock of what is done about alerts
--   deliveries  HASH  delivery id -> its record, JSON
--   pending     ZSET  of the webhook: delivery id -> when it is due, ms
--   delivered   ZSET  of the webhook: delivery id -> when it arrived, ms
--   dead        ZSET  of the webhook: delivery id -> when it was given up, ms
--   claims      ZSET  delivery id -> end of the claim of the node that sends it, ms
--
-- Arguments:
--   id       text   the delivery
--   record   json   of it
--   maximum  count  pending deliveries of a webhook
--   group    ms     how long the first of a group waits for others: somebody looks for this one, so it has waited
--
-- Returns:
--   queued  it is due, now or already
--   full    as many are pending as may

if redis.call('ZSCORE', pending, id) then
  -- It waits for its next try; or a node sends it at this moment, and must not be overtaken by another one.
  if not redis.call('ZSCORE', claims, id) then
    undo_member(pending, id)
    redis.call('ZADD', pending, 'LT', int(now - group), id)
  end
  return answer('queued')
end
if redis.call('ZCARD', pending) >= maximum then
  return answer('full')
end
undo_fields(deliveries, id)
redis.call('HSET', deliveries, id, record)
undo_member(delivered, id)
redis.call('ZREM', delivered, id)
undo_member(dead, id)
redis.call('ZREM', dead, id)
redis.call('ZADD', pending, int(now - group), id)
return answer('queued')
