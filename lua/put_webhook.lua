-- Creates, changes or deletes a webhook; nodes notice by the revision. What was to be delivered goes with it.
--
-- KEYS[1]  revision    STRING  grows with every change of a webhook
-- KEYS[2]  webhooks    HASH    webhook id -> its record, JSON
-- KEYS[3]  deliveries  HASH    delivery id -> its record, JSON
-- KEYS[4]  pending     ZSET    of the webhook: delivery id -> when it is due, ms
-- KEYS[5]  delivered   ZSET    of the webhook: delivery id -> when it arrived, ms
-- KEYS[6]  dead        ZSET    of the webhook: delivery id -> when it was given up, ms
--
-- ARGV[1]  id      id of the webhook
-- ARGV[2]  expect  the record that it must have; empty if there must be none
-- ARGV[3]  record  its new record; empty to delete it
-- ARGV[4]  most    webhooks that there may be
--
-- Returns { status }
--   put       it is as asked, now or already
--   conflict  its record is another one
--   full      there are as many as may be

local present = redis.call('HGET', KEYS[2], ARGV[1]) or ''

-- The same request again, because the reply was lost on the way to the node.
if present == ARGV[3] then
  return { 'put' }
end
if present ~= ARGV[2] then
  return { 'conflict' }
end

if present == '' and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[4]) then
  return { 'full' }
end

-- Nodes read the webhooks again when it grows, so it may grow for nothing, and must not stay.
redis.call('INCR', KEYS[1])
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
  return { 'put' }
end
redis.call('HDEL', KEYS[2], ARGV[1])
undo_by('HSET', KEYS[2], ARGV[1], present)
for _, list in ipairs({ KEYS[4], KEYS[5], KEYS[6] }) do
  for _, id in ipairs(redis.call('ZRANGE', list, 0, -1)) do
    undo_fields(KEYS[3], id)
    redis.call('HDEL', KEYS[3], id)
  end
end
-- The last call, because nothing takes it back.
redis.call('UNLINK', KEYS[4], KEYS[5], KEYS[6])
return { 'put' }
