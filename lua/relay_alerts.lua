-- Takes alerts of one bucket's outbox into the log of all, and makes a delivery of each for the webhooks that want it.
-- In one step, and only from where the last one ended: nothing is taken twice.
--
-- Joined behind prelude.
--
-- Keys of alerts:
--   clock         HASH    the clock of what is done about alerts
--   revision      STRING  grows with every change of a webhook
--   relayed       HASH    bucket -> last entry of its outbox that was taken; `last:<type>`, see below
--   log           STREAM  all alerts
--   raised        HASH    id of each alert that is raised now -> the alert, JSON
--   acknowledged  HASH    id of a raised alert -> who acknowledged it, JSON
--   suppressed    HASH    id of a raised alert of which a snooze kept the messages back -> the snooze
--   deliveries    HASH    delivery id -> its record, JSON
--   each webhook:  all that the caller knows
--     pending  ZSET  delivery id -> when it is due, ms
--     dead     ZSET  delivery id -> when it was given up, ms
--
-- Arguments:
--   known      count  revision that the caller knows the webhooks of
--   bucket     count  whose outbox it is
--   before     text?  the last entry that was taken
--   after      text   the last entry that is taken now
--   maximum    count  pending deliveries of a webhook; more are dead at once
--   keep_dead  count  dead deliveries of a webhook that are kept
--   each alert:
--     id        text       its id
--     kind      text       its type
--     state     text       firing, resolved or happened
--     since     timestamp  when it began
--     until_at  timestamp  when it was over, or was sent
--     text      json       the alert
--     snooze    text?      keeps its messages back
--     wanted    count      how many deliveries are made of it
--   each delivery:  alert by alert
--     webhook   count  number of its webhook, from 1
--     delivery  text   its id
--     record    json   of it
--
-- Returns:
--   relayed  they are in the log
--   stale    another node took some meanwhile
--   changed  the webhooks are others, or are lost: look at them, and try again
--
-- With:
--   told  count  alerts that are in the log now

if tonumber(redis.call('GET', revision) or 0) ~= known then
  return answer('changed')
end
if (redis.call('HGET', relayed, bucket) or '') ~= before then
  return answer('stale')
end
undo_fields(relayed, bucket)
redis.call('HSET', relayed, bucket, after)

local told, made = 0, 0
for i = 1, alert_count do
  local id, kind, happens, json = ARGV[id_of + i], ARGV[kind_of + i], ARGV[state_of + i], ARGV[text_of + i]
  local since, stop, wanted = tonumber(ARGV[since_of + i]), ARGV[until_at_of + i], tonumber(ARGV[wanted_of + i])
  -- An outage concerns all buckets, and each of them tells of it.
  local is_known, is_sent = false, true
  if happens == 'happened' then
    is_known = since <= tonumber(redis.call('HGET', relayed, 'last:' .. kind) or -1)
    if not is_known then
      undo_fields(relayed, 'last:' .. kind)
      redis.call('HSET', relayed, 'last:' .. kind, stop)
    end
  elseif happens == 'firing' then
    undo_fields(raised, id)
    redis.call('HSET', raised, id, json)
    if ARGV[snooze_of + i] ~= '' then
      undo_fields(suppressed, id)
      redis.call('HSET', suppressed, id, ARGV[snooze_of + i])
    end
  else
    undo_fields(raised, id)
    redis.call('HDEL', raised, id)
    undo_fields(acknowledged, id)
    redis.call('HDEL', acknowledged, id)
    -- Its end is sent if its beginning was, snooze or not.
    undo_fields(suppressed, id)
    is_sent = redis.call('HDEL', suppressed, id) == 0
  end
  if not is_known then
    told = told + 1
    undo_by('XDEL', log, redis.call('XADD', log, 'MAXLEN', '~', 10000, '*', 'alert', json))
    for at = made + 1, is_sent and made + wanted or made do
      local webhook, delivery = ARGV[webhook_of + at], ARGV[delivery_of + at]
      if redis.call('HSETNX', deliveries, delivery, ARGV[record_of + at]) == 1 then
        undo_by('HDEL', deliveries, delivery)
        local pending = KEYS[pending_of + webhook]
        local list = redis.call('ZCARD', pending) >= maximum and KEYS[dead_of + webhook] or pending
        redis.call('ZADD', list, int(now), delivery)
        undo_by('ZREM', list, delivery)
        -- A receiver that never answers must not fill the memory: the oldest that were given up are forgotten.
        if list ~= pending and redis.call('ZCARD', list) > keep_dead then
          local oldest = redis.call('ZRANGE', list, 0, 0)[1]
          undo_member(list, oldest)
          redis.call('ZREM', list, oldest)
          undo_fields(deliveries, oldest)
          redis.call('HDEL', deliveries, oldest)
        end
      end
    end
  end
  made = made + wanted
end
return answer('relayed', { told = told })
