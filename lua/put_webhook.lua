-- Creates, changes or deletes a webhook; nodes notice by the revision. What was to be delivered goes with it.
--
-- Keys of a webhook:
--   revision    STRING  grows with every change of a webhook
--   webhooks    HASH    webhook id -> its record, JSON
--   deliveries  HASH    delivery id -> its record, JSON
--   pending     ZSET    of the webhook: delivery id -> when it is due, ms
--   delivered   ZSET    of the webhook: delivery id -> when it arrived, ms
--   dead        ZSET    of the webhook: delivery id -> when it was given up, ms
--
-- Arguments:
--   id       text   id of the webhook
--   expect   json?  the record that it must have; none if there must be none
--   record   json?  its new record; none to delete it
--   maximum  count  webhooks that there may be
--
-- Returns:
--   put       it is as asked, now or already
--   conflict  its record is another one
--   full      there are as many as may be

local present = redis.call('HGET', webhooks, id) or ''

-- The same request again, because the reply was lost on the way to the node.
if present == record then
  return answer('put')
end
if present ~= expect then
  return answer('conflict')
end

if present == '' and redis.call('HLEN', webhooks) >= maximum then
  return answer('full')
end

-- Nodes read the webhooks again when it grows, so it may grow for nothing, and must not stay.
redis.call('INCR', revision)
if record ~= '' then
  redis.call('HSET', webhooks, id, record)
  return answer('put')
end
redis.call('HDEL', webhooks, id)
undo_by('HSET', webhooks, id, present)
for _, list in ipairs({ pending, delivered, dead }) do
  for _, delivery in ipairs(redis.call('ZRANGE', list, 0, -1)) do
    undo_fields(deliveries, delivery)
    redis.call('HDEL', deliveries, delivery)
  end
end
-- The last call, because nothing takes it back.
redis.call('UNLINK', pending, delivered, dead)
return answer('put')
