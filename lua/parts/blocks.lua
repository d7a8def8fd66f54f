-- Joined behind the prelude of scripts that keep a holder from acquiring. Until when stands in `blocks`, which alone decides: under the
-- holder, or under the holder and a tenant, parted by \1, where it gets no seat for that tenant only;
-- since when, by whom and why stands in `notes`, parted by \1 behind the same instant, and counts only as long as that is the one
-- in `blocks`: nodes of an earlier version write no notes.

local function note_block(notes, blocked, blocked_until, by, reason)
  undo_fields(notes, blocked)
  redis.call('HSET', notes, blocked, table.concat({ int(blocked_until), int(now), by, reason }, '\1'))
  redis.call('PEXPIRE', notes, int(math.max(redis.call('PTTL', notes), blocked_until - now)))
end

-- Blocks a holder, or a holder and a tenant, until an instant, and never for less than it is already.
local function block(blocks, notes, blocked, blocked_until, by, reason)
  undo_member(blocks, blocked)
  if redis.call('ZADD', blocks, 'GT', 'CH', int(blocked_until), blocked) == 1 then
    note_block(notes, blocked, blocked_until, by, reason)
  end
end

-- Until when a holder gets no seat for this tenant, or for none (''), and the entry that says so; 0 if it is not blocked.
local function block_of(blocks, holder, tenant)
  if holder == '' then
    return 0, holder
  end
  local own = holder .. '\1' .. tenant
  local ends = redis.call('ZMSCORE', blocks, holder, own)
  local for_all, for_own = tonumber(ends[1] or 0), tonumber(ends[2] or 0)
  if for_own > for_all then
    return for_own, own
  end
  return for_all, holder
end

-- Why the entry is there that ends then; empty if nobody said so.
local function reason_of_block(notes, blocked, blocked_until)
  local note = redis.call('HGET', notes, blocked) or ''
  local noted_until, reason = string.match(note, '^(%d+)\1%d+\1[^\1]*\1(.*)$')
  return noted_until == int(blocked_until) and reason or ''
end
