-- Opens a bucket that has no clock, and notes that its data was lost if the caller knows an older one.
--
-- A first start on an empty Redis is not a loss. It is one when a node remembers a generation that is
-- gone, or when a token verifies that was signed in one. Then newcomers wait for one TTL.
-- The prelude is not joined here: it needs what this script makes.
--
-- Keys of a bucket:
--   clock(...)  HASH  the bucket's clock, or that of alerts
--
-- Arguments:
--   remembered  count  generation that the caller knows; 0 for none
--
-- Returns:
--   opened  the bucket has a clock
--
-- With:
--   generation  count  of the bucket
--   lost        flag   newcomers have to wait

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local state = redis.call('HMGET', clock, 'generation', 'lost')
local generation, lost = state[1], state[2] == '1'

if not generation then
  lost = remembered > 0
  redis.call('HSET', clock, 'generation', now, 'tick', now, 'lost', lost and '1' or '0')
  return answer('opened', { generation = now, lost = lost })
end

if remembered > 0 and remembered ~= tonumber(generation) and not lost then
  lost = true
  redis.call('HSET', clock, 'lost', '1')
end
return answer('opened', { generation = generation, lost = lost })
