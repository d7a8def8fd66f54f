-- Joined in front of scripts that end leases: how an end is written down.

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
