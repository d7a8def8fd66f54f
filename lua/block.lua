-- Keeps a holder from acquiring until an instant, or lets it again. What it has it keeps.
--
-- Joined behind prelude, blocks.
--
-- Keys of a pool:
--   clock        HASH  the bucket's clock
--   config       HASH  the pool's policy
--   blocks       ZSET  holder -> end of its block, ms
--   block_notes  HASH  holder -> end and start of its block, its author and its reason
--
-- Arguments:
--   holder    text        who is blocked
--   until_at  timestamp?  the end of the block; none where `lasting` says it
--   lasting   ms?         how long the block is from now; none where until_at says it, and neither to lift it
--   by        text        who does it, for the notes
--   reason    text?       for the holder, and for those who look at blocks
--   longest   ms          how long a block may be
--
-- Returns:
--   blocked       until then, whatever there was before
--   lifted        the holder is not blocked, or not any more
--   out_of_range  the end is not later than now, or too late
--   no_pool       there is no such pool
--   recovering    data was lost, and the pool was not put back yet
--
-- With:
--   blocked_until  timestamp  the end of the block
--   before_until   timestamp  when the block before would have ended; 0 for none
--   before         text?      its note, as in parts/blocks.lua

local before_until = tonumber(redis.call('ZSCORE', blocks, holder) or 0)
local before = before_until > 0 and redis.call('HGET', block_notes, holder) or ''
if before_until <= now then
  before_until, before = 0, ''
end

if redis.call('EXISTS', config) == 0 then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
if not until_at and not lasting then
  mark()
  undo_member(blocks, holder)
  redis.call('ZREM', blocks, holder)
  redis.call('HDEL', block_notes, holder)
  return answer('lifted', { before_until = before_until, before = before })
end

local blocked_until = until_at or now + lasting
if blocked_until <= now or now + longest < blocked_until then
  return answer('out_of_range')
end
mark()
undo_member(blocks, holder)
redis.call('ZADD', blocks, int(blocked_until), holder)
note_block(block_notes, holder, blocked_until, by, reason)
return answer('blocked', { blocked_until = blocked_until, before_until = before_until, before = before })
