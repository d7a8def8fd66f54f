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
--   term   ms     how long it is given
--   bytes  count  records of a webhook that are given at once; one may be above it
--   each webhook:
--     id       text   its id, which is also the end of the ids of its deliveries
--     at_once  count  maximum on their way to it, for all nodes together
--     most     count  maximum that is given now
--     group    ms     how long the first that is due waits for others; 0 does not
--
-- Returns:
--   claimed  the deliveries are the caller's
--
-- With:
--   until_at  timestamp  end of the claim
--   next_at   timestamp  when the next one is due that is not due yet; 0 for none
--   full      count      webhooks that may have more that is due
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

local stop, soonest, full = now + term, math.huge, 0
for i = 1, webhook_count do
  local pending, group = KEYS[pending_of + i], tonumber(ARGV[group_of + i])
  local room = math.min(tonumber(ARGV[at_once_of + i]) - (flying[ARGV[id_of + i]] or 0), tonumber(ARGV[most_of + i]))
  local waits = false
  if group > 0 then
    local first = redis.call('ZRANGE', pending, 0, 0, 'WITHSCORES')[2]
    waits = first and now < tonumber(first) + group
    if waits then
      soonest = math.min(soonest, tonumber(first) + group)
    end
  end
  if room > 0 and not waits then
    local due = redis.call('ZRANGE', pending, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, room)
    local size, given = 0, 0
    for at = 1, #due do
      local id = due[at]
      local record, claimed = redis.call('HGET', deliveries, id), redis.call('ZSCORE', claims, id)
      if claimed and tonumber(claimed) > over then
        undo_member(pending, id)
        redis.call('ZADD', pending, int(ends_at(tonumber(claimed), term)), id)
      elseif record then
        size = size + #record
        if size > bytes and given > 0 then
          break
        end
        undo_member(pending, id)
        redis.call('ZADD', pending, int(stop), id)
        undo_member(claims, id)
        redis.call('ZADD', claims, int(stop), id)
        given = given + 1
        add_delivery(id, record)
      else
        undo_member(pending, id)
        redis.call('ZREM', pending, id)
      end
    end
    if #due == room or size > bytes then
      full = full + 1
    end
  elseif not waits then
    full = full + 1
  end
  if group == 0 then
    local first = redis.call('ZRANGE', pending, '(' .. int(now), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
    if first[2] then
      soonest = math.min(soonest, tonumber(first[2]))
    end
  end
end
-- The last call, because nothing takes it back.
redis.call('ZREMRANGEBYSCORE', claims, '-inf', int(over))
return answer('claimed', { until_at = stop, next_at = soonest < math.huge and soonest, full = full })
