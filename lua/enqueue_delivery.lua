-- Makes a delivery due now: a new one, or one that was delivered or given up before.
--
-- KEYS[1]  clock       HASH  the clock of what is done about alerts
-- KEYS[2]  deliveries  HASH  delivery id -> its record, JSON
-- KEYS[3]  pending     ZSET  of the webhook: delivery id -> when it is due, ms
-- KEYS[4]  delivered   ZSET  of the webhook: delivery id -> when it arrived, ms
-- KEYS[5]  dead        ZSET  of the webhook: delivery id -> when it was given up, ms
-- KEYS[6]  claims      ZSET  delivery id -> until when a node sends it, ms
--
-- ARGV[1]  id      of the delivery
-- ARGV[2]  record  of it, JSON
-- ARGV[3]  most    pending deliveries of a webhook
--
-- Returns { status }
--   queued    it is due, now or already
--   full      as many are pending as may
--   unopened  there is no clock; three fields

local deliveries, pending, id = KEYS[2], KEYS[3], ARGV[1]

if redis.call('ZSCORE', pending, id) then
  -- It waits for its next try; or a node sends it at this moment, and must not be overtaken by another one.
  if not redis.call('ZSCORE', KEYS[6], id) then
    redis.call('ZADD', pending, 'LT', int(now), id)
  end
  return { 'queued' }
end
if redis.call('ZCARD', pending) >= tonumber(ARGV[3]) then
  return { 'full' }
end
undo_fields(deliveries, id)
redis.call('HSET', deliveries, id, ARGV[2])
undo_member(KEYS[4], id)
redis.call('ZREM', KEYS[4], id)
undo_member(KEYS[5], id)
redis.call('ZREM', KEYS[5], id)
redis.call('ZADD', pending, int(now), id)
return { 'queued' }
