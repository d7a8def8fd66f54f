-- Takes a pool whose history was rolled up out of those that are due, unless something has happened since.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   events   STREAM  the pool's history
--   denials  HASH    minute and code -> how many acquires were denied
--   rollups  ZSET    pool -> when its history is to be rolled up, ms
--
-- Arguments:
--   pool   pool   the pool
--   last   text?  the last event, if all up to this is in slots
--   whole  flag   nothing is left but what may have happened since
--   again  ms     when to roll up what is left
--
-- Returns:
--   finished  there is nothing to roll up
--   left      there is, or will be

local entry = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
local newest = entry and entry[1] or ''
undo_member(rollups, pool)
if whole and newest == last and redis.call('EXISTS', denials) == 0 then
  redis.call('ZREM', rollups, pool)
  return answer('finished')
end
redis.call('ZADD', rollups, int(now + again), pool)
return answer('left')
