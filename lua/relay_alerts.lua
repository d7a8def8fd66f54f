-- Takes alerts of one bucket's outbox into the log of all, and makes a delivery of each for the webhooks that want it.
-- In one step, and only from where the last one ended: nothing is taken twice.
--
-- KEYS[1]  clock       HASH    the clock of what is done about alerts
-- KEYS[2]  revision    STRING  grows with every change of a webhook
-- KEYS[3]  relayed     HASH    bucket -> last entry of its outbox that was taken; `last:<type>`, see below
-- KEYS[4]  log         STREAM  all alerts
-- KEYS[5]  raised      HASH    id of each alert that is raised now -> the alert, JSON
-- KEYS[6]  deliveries  HASH    delivery id -> its record, JSON
-- KEYS[7..]  webhooks    for each webhook that the caller knows its pending (ZSET) and its dead deliveries (ZSET)
--
-- ARGV[1]    known   revision that the caller knows the webhooks of
-- ARGV[2]    bucket  whose outbox it is
-- ARGV[3]    before  the last entry that was taken; empty for none
-- ARGV[4]    after   the last entry that is taken now
-- ARGV[5]    most    pending deliveries of a webhook; more are dead at once
-- ARGV[6..]  alerts  of each: id, type, state, since_ms, until_ms, JSON, number of its deliveries; then of each of those
--                    the place of its webhook from 0, its id and its record
--
-- Returns { status, number of alerts }
--   relayed   they are in the log
--   stale     another node took some meanwhile
--   changed   the webhooks are others, or are lost: look at them, and try again
--   unopened  there is no clock; three fields

if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[1] then
  return { 'changed', '0' }
end
local relayed, log, raised, deliveries = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local bucket, most = ARGV[2], tonumber(ARGV[5])
if (redis.call('HGET', relayed, bucket) or '') ~= ARGV[3] then
  return { 'stale', '0' }
end
undo_fields(relayed, bucket)
redis.call('HSET', relayed, bucket, ARGV[4])

local at, told = 6, 0
while at <= #ARGV do
  local id, kind, happens = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local since, stop, json, count = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[at + 5], tonumber(ARGV[at + 6])
  at = at + 7
  -- An outage concerns all buckets, and each of them tells of it.
  local known = false
  if happens == 'happened' then
    known = since <= tonumber(redis.call('HGET', relayed, 'last:' .. kind) or -1)
    if not known then
      undo_fields(relayed, 'last:' .. kind)
      redis.call('HSET', relayed, 'last:' .. kind, int(stop))
    end
  elseif happens == 'firing' then
    undo_fields(raised, id)
    redis.call('HSET', raised, id, json)
  else
    undo_fields(raised, id)
    redis.call('HDEL', raised, id)
  end
  if not known then
    told = told + 1
    undo_by('XDEL', log, redis.call('XADD', log, 'MAXLEN', '~', 10000, '*', 'alert', json))
    for i = at, at + 3 * count - 1, 3 do
      local key, delivery = 7 + 2 * tonumber(ARGV[i]), ARGV[i + 1]
      if redis.call('HSETNX', deliveries, delivery, ARGV[i + 2]) == 1 then
        undo_by('HDEL', deliveries, delivery)
        local full = redis.call('ZCARD', KEYS[key]) >= most
        local list = full and KEYS[key + 1] or KEYS[key]
        redis.call('ZADD', list, int(now), delivery)
        undo_by('ZREM', list, delivery)
      end
    end
  end
  at = at + 3 * count
end
return { 'relayed', int(told) }
