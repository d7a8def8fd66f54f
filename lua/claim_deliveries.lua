-- Gives a node deliveries to send, each for a time: if it is not finished by then, another node takes it.
--
-- Joined behind prelude.
--
-- Keys of alerts:
--   clock       HASH  the clock of what is done about alerts
--   claims      ZSET  delivery id -> end of the claim of the node that sends it, ms
--   deliveries  HASH  delivery id -> its record, JSON
--   each webhook:
--     pending  ZSET  delivery id -> when it is due, ms
--
-- Arguments:
--   term     ms     how long it is given
--   at_once  count  maximum on their way to one webhook, for all nodes together
--   each webhook:
--     id  text  its id, which is also the end of the ids of its deliveries
--
-- Returns:
--   claimed  the deliveries are the caller's
--
-- With:
--   until_at  timestamp  end of the claim
--   next_at   timestamp  when the next one is due that is not due yet; 0 for none
--   each delivery:
--     id      text  its id
--     record  json  as it is kept

redis.call('PERSIST', clock)
mark()
-- A node that sent one while Redis was away has the whole time again to report the result.
local over = live_from(term)
local flying = {}
for _, id in ipairs(redis.call('ZRANGE', claims, '(' .. int(over), '+inf', 'BYSCORE')) do
  local webhook = string.match(id, '_([^_]*)$')
  flying[webhook] = (flying[webhook] or 0) + 1
end

local stop, soonest = now + term, math.huge
for i = 1, webhook_count do
  local pending = KEYS[pending_of + i]
  local room = at_once - (flying[ARGV[id_of + i]] or 0)
  if room > 0 then
    for _, id in ipairs(redis.call('ZRANGE', pending, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, room)) do
      local record, claimed = redis.call('HGET', deliveries, id), redis.call('ZSCORE', claims, id)
      if claimed and tonumber(claimed) > over then
        undo_member(pending, id)
        redis.call('ZADD', pending, int(ends_at(tonumber(claimed), term)), id)
      elseif record then
        undo_member(pending, id)
        redis.call('ZADD', pending, int(stop), id)
        undo_member(claims, id)
        redis.call('ZADD', claims, int(stop), id)
        add_delivery(id, record)
      else
        undo_member(pending, id)
        redis.call('ZREM', pending, id)
      end
    end
  end
  local first = redis.call('ZRANGE', pending, '(' .. int(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if first[2] then
    soonest = math.min(soonest, tonumber(first[2]))
  end
end
-- The last call, because nothing takes it back.
redis.call('ZREMRANGEBYSCORE', claims, '-inf', int(over))
return answer('claimed', { until_at = stop, next_at = soonest < math.huge and soonest })
