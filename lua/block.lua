-- Keeps a holder from acquiring until an instant, or lets it again: for all tenants, or for some. What it has it keeps.
--
-- Joined behind prelude, blocks.
--
-- Keys of a pool:
--   clock        HASH  the bucket's clock
--   config       HASH  the pool's policy
--   blocks       ZSET  entry of parts/blocks.lua -> end of the block, ms
--   block_notes  HASH  the same entry -> end and start of the block, its author and its reason
--
-- Arguments:
--   until_at  timestamp?  the end of the block; none where `lasting` says it
--   lasting   ms?         how long the block is from now; none where until_at says it, and neither to lift it
--   by        text        who does it, for the notes
--   reason    text?       for the holder, and for those who look at blocks
--   longest   ms          how long a block may be
--   each entry:  at most 1000
--     blocked  text  the holder, or holder and tenant, as in parts/blocks.lua
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
--   before_until   timestamp  when the block before would have ended, of several the last; 0 for none
--   before         text?      its note, as in parts/blocks.lua

local before_until, before = 0, ''
for i = 1, entry_count do
  local blocked = ARGV[blocked_of + i]
  local blocked_until = tonumber(redis.call('ZSCORE', blocks, blocked) or 0)
  if blocked_until > now and blocked_until > before_until then
    before_until, before = blocked_until, redis.call('HGET', block_notes, blocked) or ''
  end
end

if redis.call('EXISTS', config) == 0 then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
if not until_at and not lasting then
  mark()
  for i = 1, entry_count do
    local blocked = ARGV[blocked_of + i]
    undo_member(blocks, blocked)
    redis.call('ZREM', blocks, blocked)
  end
  -- The last call, because nothing takes it back: the TTL would be gone with the last field.
  redis.call('HDEL', block_notes, unpack(ARGV, blocked_of + 1, blocked_of + entry_count))
  return answer('lifted', { before_until = before_until, before = before })
end

local blocked_until = until_at or now + lasting
if blocked_until <= now or now + longest < blocked_until then
  return answer('out_of_range')
end
mark()
for i = 1, entry_count do
  local blocked = ARGV[blocked_of + i]
  undo_member(blocks, blocked)
  redis.call('ZADD', blocks, int(blocked_until), blocked)
  note_block(block_notes, blocked, blocked_until, by, reason)
end
return answer('blocked', { blocked_until = blocked_until, before_until = before_until, before = before })
