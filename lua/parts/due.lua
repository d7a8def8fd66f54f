-- Joined in front of postpone.lua and sweep.lua: when a pool without rules has work for a sweep, and what of it needs none.

-- A holder that is denied for this time, and gets no seat, is a true denial.
local RUN = 120000

-- The instant at which the next lease ends or the next run of denials is over; math.huge if there is neither.
-- So many runs are over already. After an outage the earliest lease may be overdue by its score and yet live.
local function next_due(leases, denied, period, over)
  local lease = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
  local run = redis.call('ZRANGE', denied, over, over, 'WITHSCORES')
  return math.min(lease[1] and ends_at(tonumber(lease[2]), period) or math.huge, run[1] and tonumber(run[2]) + RUN or math.huge)
end

-- Drops blocks that are over, and events that are older than keep_ms.
local function drop_old(blocks, notes, events, keep_ms)
  local over = redis.call('ZRANGE', blocks, '-inf', int(now), 'BYSCORE', 'LIMIT', 0, 256)
  if #over > 0 then
    for i = 1, #over do
      undo_member(blocks, over[i])
    end
    undo_fields(notes, unpack(over))
    redis.call('ZREM', blocks, unpack(over))
    redis.call('HDEL', notes, unpack(over))
  end
  redis.call('XTRIM', events, 'MINID', '~', int(now - keep_ms))
end

