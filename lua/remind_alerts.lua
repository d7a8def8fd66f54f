-- Makes deliveries for alerts that are still raised: reminders of those that nobody has acknowledged, and the first messages of
-- those that a snooze kept back and that none keeps back any more. Any number of nodes may ask for the same one: the first makes it.
--
-- Joined behind prelude.
--
-- Keys of alerts:
--   clock         HASH  the clock of what is done about alerts
--   raised        HASH  id of each alert that is raised now -> the alert, JSON
--   acknowledged  HASH  id of a raised alert -> who acknowledged it, JSON
--   suppressed    HASH  id of a raised alert of which a snooze kept the messages back -> the snooze
--   reminded      HASH  alert and webhook -> when the last message was made here, ms
--   deliveries    HASH  delivery id -> its record, JSON
--   each webhook:  all that the caller knows
--     pending  ZSET  delivery id -> when it is due, ms
--
-- Arguments:
--   maximum  count  pending deliveries of a webhook; one that has as many gets none
--   each alert:
--     id      text   its id
--     wanted  count  how many deliveries are made of it
--   each delivery:  alert by alert
--     webhook   count  number of its webhook, from 1
--     field     text   the alert and the webhook
--     last      text?  when the last message was made, as the caller knows it
--     delivery  text   its id
--     record    json   of it
--   each ended:  notes about alerts that are not raised any more
--     ended_alert  text   its id
--     ended_field  text?  the alert and the webhook
--
-- Returns:
--   reminded  the deliveries are due
--
-- With:
--   made  count  deliveries that were made

local made, first = 0, 0
for i = 1, alert_count do
  local id, wanted = ARGV[id_of + i], tonumber(ARGV[wanted_of + i])
  local is_open = redis.call('HEXISTS', acknowledged, id) == 0 or redis.call('HEXISTS', suppressed, id) == 1
  if is_open and redis.call('HEXISTS', raised, id) == 1 then
    for at = first + 1, first + wanted do
      local field, delivery = ARGV[field_of + at], ARGV[delivery_of + at]
      local pending = KEYS[pending_of + ARGV[webhook_of + at]]
      if (redis.call('HGET', reminded, field) or '') == ARGV[last_of + at] and redis.call('ZCARD', pending) < maximum then
        undo_fields(reminded, field)
        redis.call('HSET', reminded, field, int(now))
        if redis.call('HSETNX', deliveries, delivery, ARGV[record_of + at]) == 1 then
          undo_by('HDEL', deliveries, delivery)
          redis.call('ZADD', pending, int(now), delivery)
          undo_by('ZREM', pending, delivery)
          made = made + 1
        end
      end
    end
    undo_fields(suppressed, id)
    redis.call('HDEL', suppressed, id)
  end
  first = first + wanted
end

-- A node of an earlier version ends an alert and leaves what it does not know.
for i = 1, ended_count do
  local id, field = ARGV[ended_alert_of + i], ARGV[ended_field_of + i]
  if redis.call('HEXISTS', raised, id) == 0 then
    undo_fields(acknowledged, id)
    redis.call('HDEL', acknowledged, id)
    undo_fields(suppressed, id)
    redis.call('HDEL', suppressed, id)
    if field ~= '' then
      undo_fields(reminded, field)
      redis.call('HDEL', reminded, field)
    end
  end
end
return answer('reminded', { made = made })
