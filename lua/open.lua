-- Opens a bucket that has no clock, and notes that its data was lost if the caller knows an older one.
--
-- A first start on an empty Redis is not a loss. It is one when a node remembers a generation that is
-- gone, or when a token verifies that was signed in one. Then newcomers wait for one TTL.
-- The prelude is not joined here: it needs what this script makes.
--
-- KEYS[1]  clock  HASH  the bucket's clock
--
-- ARGV[1]  remembered  generation that the caller knows, ms; 0 for none
--
-- Returns
--   { 'opened', generation, lost }  lost is 1 while newcomers have to wait, else 0

local clock, remembered = KEYS[1], tonumber(ARGV[1])

local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local state = redis.call('HMGET', clock, 'generation', 'lost')

if not state[1] then
  local lost = remembered > 0 and '1' or '0'
  redis.call('HSET', clock, 'generation', now, 'tick', now, 'lost', lost)
  return { 'opened', now, lost }
end

if remembered > 0 and remembered ~= tonumber(state[1]) and state[2] ~= '1' then
  redis.call('HSET', clock, 'lost', '1')
  return { 'opened', state[1], '1' }
end
return { 'opened', state[1], state[2] }
