-- Joined in front of scripts that belong to no bucket and need the time.

local time = redis.call('TIME')
-- There is no order of such calls.
local seq = 0
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function int(number)
  return string.format('%d', math.floor(number + 0.5))
end
