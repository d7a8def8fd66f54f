-- Joined in front of scripts that end leases: how an end is written down, and how one of many is recognised.

-- What was ended at once, by a mark of parts/ends.lua: a lease is one of those if its fence is not above the mark's. Nil if it is
-- none.
local function ended_by(mark_key, fence)
  local found = redis.call('HMGET', mark_key, 'fence', 'reason', 'blocked_until', 'deleted')
  return found[1] and fence <= tonumber(found[1]) and found or nil
end

-- Forgets how a lease ended.
local function drop_tombstone(tombstone, keep_ms)
  local before = redis.call('HGETALL', tombstone)
  if #before > 0 then
    redis.call('DEL', tombstone)
    undo_by('PEXPIRE', tombstone, keep_ms)
    undo_by('HSET', tombstone, unpack(before))
  end
end

-- Writes how a lease ended, in place of what was known of its end before.
local function write_tombstone(tombstone, keep_ms, ...)
  drop_tombstone(tombstone, keep_ms)
  redis.call('HSET', tombstone, ...)
  undo_by('DEL', tombstone)
  redis.call('PEXPIRE', tombstone, keep_ms)
end
