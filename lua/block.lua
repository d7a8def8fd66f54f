-- Keeps a holder from acquiring until an instant, or lets it again. What it has it keeps.
--
-- KEYS[1]  clock   HASH  the bucket's clock
-- KEYS[2]  config  HASH  the pool's policy
-- KEYS[3]  blocks  ZSET  holder -> until when it may not acquire, ms
-- KEYS[4]  notes   HASH  holder -> until when it is blocked, since when, by whom and why
--
-- ARGV[1]  holder
-- ARGV[2]  until_ms  the end of the block; 0 where for_ms says it
-- ARGV[3]  for_ms    how long the block is from now; 0 where until_ms says it, and both 0 to lift it
-- ARGV[4]  by        who does it, for the notes
-- ARGV[5]  reason    for the holder, and for those who look at blocks; empty for none
-- ARGV[6]  most_ms   how long a block may be
--
-- Returns { status, seq, now_ms, until_ms, before_until_ms, before }
--   blocked       until then, whatever there was before; before_until_ms is when that would have ended, 0 for no block, and
--                 before its note as in parts/blocks.lua
--   lifted        the holder is not blocked, or not any more
--   out_of_range  the end is not later than now, or too late
--   no_pool       there is no such pool
--   recovering    data was lost, and the pool was not put back yet
--   unopened      the bucket has no clock; only three fields

local config, blocks, notes = KEYS[2], KEYS[3], KEYS[4]
local holder, until_ms, for_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local before_until = tonumber(redis.call('ZSCORE', blocks, holder) or 0)
local before = before_until > 0 and redis.call('HGET', notes, holder) or ''
if before_until <= now then
  before_until, before = 0, ''
end

local function answer(status, blocked_until)
  return { status, int(seq), int(now), int(blocked_until), int(before_until), before }
end

if redis.call('EXISTS', config) == 0 then
  return answer(may_be_lost() and 'recovering' or 'no_pool', 0)
end
if until_ms == 0 and for_ms == 0 then
  mark()
  undo_member(blocks, holder)
  redis.call('ZREM', blocks, holder)
  redis.call('HDEL', notes, holder)
  return answer('lifted', 0)
end

local blocked_until = until_ms > 0 and until_ms or now + for_ms
if blocked_until <= now or now + tonumber(ARGV[6]) < blocked_until then
  return answer('out_of_range', 0)
end
mark()
undo_member(blocks, holder)
redis.call('ZADD', blocks, int(blocked_until), holder)
note_block(notes, holder, blocked_until, ARGV[4], ARGV[5])
return answer('blocked', blocked_until)
