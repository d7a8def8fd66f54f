-- Reads a page of the blocks of a pool in the order in which they end.
--
-- KEYS[1]  clock   HASH  the bucket's clock
-- KEYS[2]  config  HASH  the pool's policy
-- KEYS[3]  blocks  ZSET  holder -> until when it may not acquire, ms
-- KEYS[4]  notes   HASH  holder -> until when it is blocked, since when, by whom and why
--
-- ARGV[1]  after_ms      end of the last block seen; 0 to begin
-- ARGV[2]  after_holder  its holder; empty to begin
-- ARGV[3]  limit         at most 1001 blocks
--
-- Returns { status, seq, now_ms, then for each block holder, until_ms and its note as in parts/blocks.lua }
--   listed      the note is empty if nobody wrote one
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

local config, blocks, notes = KEYS[2], KEYS[3], KEYS[4]
local after_ms, after_holder, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

if redis.call('EXISTS', config) == 0 then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now) }
end

-- By rank: blocks that end together are in Redis's order, which Lua's comparison of texts may not be.
local first = redis.call('ZCOUNT', blocks, '-inf', int(now))
if after_holder ~= '' then
  local seen
  if tonumber(redis.call('ZSCORE', blocks, after_holder) or 0) == after_ms then
    seen = redis.call('ZRANK', blocks, after_holder) + 1
  else
    seen = redis.call('ZCOUNT', blocks, '-inf', '(' .. int(after_ms))
  end
  first = math.max(first, seen)
end

local reply = { 'listed', int(seq), int(now) }
local page = redis.call('ZRANGE', blocks, first, first + limit - 1, 'WITHSCORES')
for i = 1, #page, 2 do
  reply[#reply + 1], reply[#reply + 2] = page[i], int(tonumber(page[i + 1]))
  reply[#reply + 1] = redis.call('HGET', notes, page[i]) or ''
end
return reply
