-- Reads a page of the blocks of a pool in the order in which they end.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock        HASH  the bucket's clock
--   config       HASH  the pool's policy
--   blocks       ZSET  entry of parts/blocks.lua -> end of the block, ms
--   block_notes  HASH  the same entry -> end and start of the block, its author and its reason
--
-- Arguments:
--   after_until    timestamp  end of the last block seen; 0 to begin
--   after_blocked  text?      its entry; none to begin
--   limit          count      maximum of blocks, at most 1001
--
-- Returns:
--   listed      the blocks behind the last one seen
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   each block:
--     blocked        text       the holder, or holder and tenant, as in parts/blocks.lua
--     blocked_until  timestamp  the end of it
--     note           text       as in parts/blocks.lua; empty if nobody wrote one

if redis.call('EXISTS', config) == 0 then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end

-- By rank: blocks that end together are in Redis's order, which Lua's comparison of strings may not be.
local first = redis.call('ZCOUNT', blocks, '-inf', int(now))
if after_blocked ~= '' then
  local seen
  if tonumber(redis.call('ZSCORE', blocks, after_blocked) or 0) == after_until then
    seen = redis.call('ZRANK', blocks, after_blocked) + 1
  else
    seen = redis.call('ZCOUNT', blocks, '-inf', '(' .. int(after_until))
  end
  first = math.max(first, seen)
end

local page = redis.call('ZRANGE', blocks, first, first + limit - 1, 'WITHSCORES')
for i = 1, #page, 2 do
  local blocked, blocked_until = page[i], tonumber(page[i + 1])
  local note = redis.call('HGET', block_notes, blocked) or ''
  add_block(blocked, blocked_until, note)
end
return answer('listed')
