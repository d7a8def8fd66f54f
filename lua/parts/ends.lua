-- Joined behind the prelude of scripts that end many leases at one instant, without a look at each: a mark means that whatever
-- was granted up to a fence has ended, and why. It also reaches leases that are in no index any more and could come back
-- with a late beat. resume.lua reads it.

-- The fence of this instant: all leases of the bucket have this one or a smaller one, and all later ones a greater one.
local function last_fence()
  local fence = math.max(newest_fence, now * 1000 + time[2] % 1000)
  redis.call('HSET', clock, 'fence', int(fence))
  return fence
end

-- The mark stays as long as a token of a lease could be shown that it ended.
local function end_until(mark_key, fence, reason, blocked_until, keep_ms)
  undo_fields(mark_key, 'fence', 'reason', 'blocked_until', 'deleted')
  redis.call('HSET', mark_key, 'fence', int(fence), 'reason', reason, 'blocked_until', int(blocked_until))
  redis.call('HDEL', mark_key, 'deleted')
  redis.call('PEXPIRE', mark_key, keep_ms)
end
