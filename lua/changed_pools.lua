-- Notes which pools of a bucket have something that no roll-up knows of. What happens in a pool notes that itself, when its alerts are
-- evaluated; this looks at all of them, for what nodes of versions that do not know `rollups` have left. Nodes take turns: one that comes
-- soon after another has nothing to do.
--
-- Joined behind prelude.
--
-- Keys of a bucket:
--   clock    HASH  the bucket's clock
--   watch    HASH  `stirred`: when a node last had its turn, ms
--   rollups  ZSET  pool -> when its history is to be rolled up, ms
--   each pool:
--     events   STREAM  the pool's history
--     denials  HASH    minute and code -> how many acquires were denied
--     rolled   STRING  how far the events are rolled up
--
-- Arguments:
--   every  ms  a turn is not given sooner; 0 for whoever has it already
--   each pool:
--     name  pool  the pool
--
-- Returns:
--   stirred  it is the caller's turn
--   fresh    it is another node's turn
--
-- With:
--   changed  count  pools that were noted now

local before = tonumber(redis.call('HGET', watch, 'stirred') or 0)
if now < before + every then
  return answer('fresh')
end

redis.call('PERSIST', clock)
mark()
undo_fields(watch, 'stirred')
redis.call('HSET', watch, 'stirred', int(now))

-- Whether there is an event behind the last one that was rolled up. That a pool was made is nothing to roll up.
local function has_news(events, rolled)
  local entry = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  local checkpoint = entry and redis.call('GET', rolled)
  if checkpoint then
    return not string.find(checkpoint, entry[1], 1, true)
  end
  return entry and (entry[2][2] ~= 'configured' or redis.call('XREVRANGE', events, '+', '-', 'COUNT', 2)[2])
end

local changed = 0
for i = 1, pool_count do
  if (has_news(KEYS[events_of + i], KEYS[rolled_of + i]) or redis.call('EXISTS', KEYS[denials_of + i]) == 1)
    and redis.call('ZADD', rollups, 'NX', int(now), ARGV[name_of + i]) == 1 then
    undo_by('ZREM', rollups, ARGV[name_of + i])
    changed = changed + 1
  end
end
return answer('stirred', { changed = changed })
