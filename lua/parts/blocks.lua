-- Joined behind the prelude of scripts that keep a holder from acquiring. Until when stands in `blocks`, which alone decides;
-- since when, by whom and why stands in `notes`, parted by \1 behind the same instant, and counts only as long as that is the one
-- in `blocks`: nodes of an earlier version write no notes.

local function note_block(notes, holder, blocked_until, by, reason)
  undo_fields(notes, holder)
  redis.call('HSET', notes, holder, table.concat({ int(blocked_until), int(now), by, reason }, '\1'))
  redis.call('PEXPIRE', notes, int(math.max(redis.call('PTTL', notes), blocked_until - now)))
end

-- Blocks a holder until an instant, and never for less than it is already.
local function block(blocks, notes, holder, blocked_until, by, reason)
  undo_member(blocks, holder)
  if redis.call('ZADD', blocks, 'GT', 'CH', int(blocked_until), holder) == 1 then
    note_block(notes, holder, blocked_until, by, reason)
  end
end

-- Why a holder is blocked until then; empty if nobody said so.
local function reason_of_block(notes, holder, blocked_until)
  local note = redis.call('HGET', notes, holder) or ''
  local noted_until, reason = string.match(note, '^(%d+)\1%d+\1[^\1]*\1(.*)$')
  return noted_until == int(blocked_until) and reason or ''
end
