-- Gives a node deliveries to send, each for a time: if it is not finished by then, another node takes it.
--
-- KEYS[1]    clock       HASH  the clock of what is done about alerts
-- KEYS[2]    claims      ZSET  delivery id -> until when a node sends it, ms
-- KEYS[3]    deliveries  HASH  delivery id -> its record, JSON
-- KEYS[4..]  pending     ZSET  of each webhook: delivery id -> when it is due, ms
--
-- ARGV[1]    lease_ms  how long it is given
-- ARGV[2]    at_once   most that are on their way to one webhook, for all nodes together
-- ARGV[3..]  webhooks  the id of each webhook, which is also the end of the ids of its deliveries
--
-- Returns { status, now_ms, until_ms, next_ms, then id and record of each }
--   claimed   next_ms is when the next one is due that is not due yet; 0 for none
--   unopened  there is no clock; only three fields

local claims, deliveries = KEYS[2], KEYS[3]
local lease_ms, at_once = tonumber(ARGV[1]), tonumber(ARGV[2])

redis.call('PERSIST', clock)
mark()
-- Who sent one while Redis was away has a whole time to say how that ended.
local over = live_from(lease_ms)
local flying = {}
for _, id in ipairs(redis.call('ZRANGE', claims, '(' .. int(over), '+inf', 'BYSCORE')) do
  local webhook = string.match(id, '_([^_]*)$')
  flying[webhook] = (flying[webhook] or 0) + 1
end

local stop, soonest = now + lease_ms, math.huge
local reply = { 'claimed', int(now), int(stop), '0' }
for i = 4, #KEYS do
  local room = at_once - (flying[ARGV[i - 1]] or 0)
  if room > 0 then
    for _, id in ipairs(redis.call('ZRANGE', KEYS[i], '-inf', int(now), 'BYSCORE', 'LIMIT', 0, room)) do
      local record, claimed = redis.call('HGET', deliveries, id), redis.call('ZSCORE', claims, id)
      if claimed and tonumber(claimed) > over then
        undo_member(KEYS[i], id)
        redis.call('ZADD', KEYS[i], int(ends_at(tonumber(claimed), lease_ms)), id)
      elseif record then
        undo_member(KEYS[i], id)
        redis.call('ZADD', KEYS[i], int(stop), id)
        undo_member(claims, id)
        redis.call('ZADD', claims, int(stop), id)
        reply[#reply + 1], reply[#reply + 2] = id, record
      else
        undo_member(KEYS[i], id)
        redis.call('ZREM', KEYS[i], id)
      end
    end
  end
  local first = redis.call('ZRANGE', KEYS[i], '(' .. int(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if first[2] then
    soonest = math.min(soonest, tonumber(first[2]))
  end
end
reply[4] = soonest < math.huge and int(soonest) or '0'
-- The last call, because nothing takes it back.
redis.call('ZREMRANGEBYSCORE', claims, '-inf', int(over))
return reply
