-- Says what pools of a bucket have that a roll-up may not know of. Nodes take turns: who comes soon after another one learns
-- nothing, because that one rolls up what there is.
--
-- Joined behind prelude.
--
-- Keys of a bucket:
--   clock  HASH  the bucket's clock
--   watch  HASH  `stirred`: when a node last had its turn, ms
--   each pool:
--     events   STREAM  the pool's history
--     denials  HASH    minute and code -> how many acquires were denied
--
-- Arguments:
--   every  ms  a turn is not given sooner; 0 for whoever has it already
--
-- Returns:
--   stirred  it is the caller's turn
--   fresh    it is another node's turn
--
-- With:
--   back  timestamp  end of the last time in which no node could work
--   each pool:
--     last     text?  last event
--     denials  count  how many counts of denials it has

local before = tonumber(redis.call('HGET', watch, 'stirred') or 0)
if now < before + every then
  return answer('fresh')
end

redis.call('PERSIST', clock)
mark()
undo_fields(watch, 'stirred')
redis.call('HSET', watch, 'stirred', int(now))

for i = 1, pool_count do
  local entry = redis.call('XREVRANGE', KEYS[events_of + i], '+', '-', 'COUNT', 1)[1]
  local last, denials = entry and entry[1] or '', redis.call('HLEN', KEYS[denials_of + i])
  add_pool(last, denials)
end
return answer('stirred', { back = back })
