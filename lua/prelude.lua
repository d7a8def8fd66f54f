-- Joined in front of every script that belongs to a bucket. KEYS[1] is always the bucket's clock.

-- Numbers leave Lua through this: tostring would write 1.7e+15, and %.0f takes three times as long.
local function int(number)
  return string.format('%d', math.floor(number + 0.5))
end

-- Redis is the only clock, read once: on Redis 7.0 it moves while a script runs.
local time = redis.call('TIME')

local clock, generation, tick, seq, now, shift
local floor, back, gap, returned
-- The last silence that may be too short for an outage, and is long for those who wait in a queue and have to ask again.
local pause_from, pause_to, paused
-- PAUSED_MS is the whole time that one of them has to ask (queue.lua).
local PAUSE_MS, PAUSED_MS = 1200, 6000
-- The number of the last script that a node of the version before ran, which does not keep the sums in step that this one keeps.
local older_seq, older_before
-- As the clock has them: the longest TTL of a pool, whether data was lost, the last fence, and how far time was ahead before this.
local longest_ttl, lost, newest_fence, shift_before

-- Notes the length of a time in which nobody could keep a deadline; see live_from. A silence that begins while such a grace may still
-- be running keeps the older floor.
local function note_silence(silence)
  if tick < back + longest_ttl then
    gap = math.max(gap, silence)
  else
    floor, gap = tick, silence
  end
  back, returned = now, true
end

-- Reads the clock of a bucket: all that follows is judged by it. False if the bucket has none: it was never opened, or was
-- emptied. All scripts but renew.lua belong to one bucket.
local function enter(key)
  clock = key
  local opened, last_tick, last_seq, silent_from, silent_to, silent_for, longest, data_lost, fence, ahead, summed, older, from, to =
    unpack(redis.call('HMGET', clock, 'generation', 'tick', 'seq', 'floor', 'back', 'gap', 'longest_ttl', 'lost', 'fence', 'shift',
      'summed', 'older', 'pause_from', 'pause_to'))
  generation, tick, seq, shift = tonumber(opened), tonumber(last_tick) or 0, tonumber(last_seq) or 0, tonumber(ahead) or 0
  longest_ttl, lost, newest_fence, shift_before = tonumber(longest) or 0, data_lost == '1', tonumber(fence) or 0, shift
  older_before = tonumber(older) or 0
  older_seq = tonumber(summed) == seq and older_before or seq
  local instant = time[1] * 1000 + math.floor(time[2] / 1000)
  now = instant + shift
  if now < tick then
    -- Redis's clock went back, or a server took over whose clock is behind: time goes on from where it was.
    now = tick
  elseif shift > 0 then
    -- Back to Redis's clock by a millisecond for each `every`, so that no lease ends more than 2 s late for it.
    local every = math.max(33, longest_ttl / 2000)
    now = now - math.min(shift, math.floor(instant / every) - math.floor((tick - shift) / every))
  end
  if not generation then
    return false
  end

  -- Every node ticks every second. A longer silence means that Redis or all nodes were away.
  floor, back, gap, returned = tonumber(silent_from) or 0, tonumber(silent_to) or 0, tonumber(silent_for) or 0, false
  local silence = now - tick
  if silence > 3000 then
    -- It may be that a clock which went back was put right. Where all leases have a grace, time need not pass as well.
    if silence > longest_ttl / 4 then
      now = now - math.min(now - instant, silence)
    end
    note_silence(silence)
  end
  -- One at a time, so that the places of those who are gone lapse also where every tick is late.
  pause_from, pause_to, paused = tonumber(from) or 0, tonumber(to) or 0, false
  if silence > PAUSE_MS and pause_to + PAUSED_MS <= now then
    pause_from, pause_to, paused = tick, now, true
  end
  shift = now - instant
  return true
end

-- The node opens the bucket and asks again.
if not enter(KEYS[1]) then
  return { 'unopened', '0', int(now) }
end

-- Writes the sign of life and numbers this script in the order of its bucket.
local function mark()
  seq = seq + 1
  if returned then
    redis.call('HSET', clock, 'tick', int(now), 'seq', int(seq), 'summed', int(seq),
      'floor', int(floor), 'back', int(back), 'gap', int(gap), 'pause_from', int(pause_from), 'pause_to', int(pause_to), 'silences',
      -- For the reports: in these times nobody could ask for a seat. The last 256 of them.
      string.sub((redis.call('HGET', clock, 'silences') or '') .. int(tick) .. ' ' .. int(now) .. ' ', -7168))
  elseif paused then
    redis.call('HSET', clock, 'pause_from', int(pause_from), 'pause_to', int(pause_to), 'tick', int(now), 'seq', int(seq), 'summed', int(seq))
  else
    redis.call('HSET', clock, 'tick', int(now), 'seq', int(seq), 'summed', int(seq))
  end
  if older_seq ~= older_before then
    redis.call('HSET', clock, 'older', int(older_seq))
  end
  if shift ~= shift_before then
    redis.call('HSET', clock, 'shift', int(shift))
  end
end

-- Whether data was lost so lately that a pool which is not there may only not have been put back yet.
local function may_be_lost()
  return lost and now < generation + 60000
end

-- The rule for every deadline that a silence makes unfair, with the whole period that somebody had to meet it: one that had
-- not passed at `floor`, the last sign of life, is not over before `back` and that period. What lives has a deadline after this.
local function live_from(period)
  if now < back + period then
    return math.min(floor, now)
  end
  return now
end

-- The instant at which such a deadline is over, or was.
local function ends_at(deadline, period)
  if floor < deadline then
    return math.max(deadline, back + period)
  end
  return deadline
end

-- The period of the leases of a pool. A silence that is short against the TTL took nobody's time to beat, but perhaps that of
-- a page which has left and comes back.
local function lease_period(ttl, linger)
  if gap > ttl / 4 then
    return ttl
  end
  return math.min(ttl, linger)
end

local written = 0

-- Appends to the pool's history. All events have the same fields, which Redis stores once per block; only in a
-- pool where a lease is not always a seat of the capacity there is one more, the number of seats taken or freed. `seats` is that, or
-- a pair of it and of how many seats more are idle than before. `more` are names and values that only few have.
-- Sweeps drop them by age; the number is a bound on the memory of a pool, whatever happens in it.
local function record_event(events, kind, id, at, holder, tenant, reason, seats, waited, more)
  local idle
  if type(seats) == 'table' then
    seats, idle = seats[1], seats[2]
  end
  local event = { 'type', kind, 'id', id, 'at', int(at), 'holder', holder, 'tenant', tenant, 'reason', reason,
    seats and 'seats', seats }
  if waited then
    event[#event + 1] = 'waited'
    event[#event + 1] = int(waited)
  end
  if idle then
    event[#event + 1] = 'idle'
    event[#event + 1] = int(idle)
  end
  for i = 1, more and #more or 0 do
    event[#event + 1] = more[i]
  end
  local entry
  if shift > 0 then
    -- Readers take the place of an event for when it was written. It is refused where one was written at a later instant.
    written = written + 1
    local place = int(now) .. '-' .. int(seq * 1000 + written)
    entry = redis.pcall('XADD', events, 'MAXLEN', '~', '4000000', place, unpack(event))
  end
  if type(entry) ~= 'string' then
    entry = redis.call('XADD', events, 'MAXLEN', '~', '4000000', '*', unpack(event))
  end
  undo_by('XDEL', events, entry)
  note_event(events, now)
end

-- Takes a lease out of those that live; false if it is not there. What undoes that is tried first: a user that may not run it finds
-- out before.
local function take_out(leases, id, score)
  redis.call('ZADD', leases, 'XX', score, id)
  if redis.call('ZREM', leases, id) == 0 then
    return false
  end
  undo_by('ZADD', leases, score, id)
  return true
end

-- By how much an outage put off an end, for the history.
local function put_off(deadline, at)
  return at > deadline and { 'delayed_ms', int(at - deadline) } or nil
end

-- Ends what is due, at most `limit`, in order of expiry: from `leases` to `expired`, where the instant
-- waits until a sweep has written it into the lease's tombstone. `freed`, if given, is called with the id and the
-- end of each, and how many seats that frees. Returns how many were ended.
local function end_due(leases, expired, events, period, limit, freed)
  local due = redis.call('ZRANGE', leases, '-inf', int(live_from(period)), 'BYSCORE',
    'LIMIT', 0, limit, 'WITHSCORES')
  if #due == 0 then
    return 0
  end
  local ids, ends, back = {}, {}, { 'ZADD', leases }
  for i = 1, #due, 2 do
    ids[#ids + 1] = due[i]
    ends[i], ends[i + 1] = int(ends_at(tonumber(due[i + 1]), period)), due[i]
    back[i + 2], back[i + 3] = due[i + 1], due[i]
  end
  -- They are not there: whoever may not run this finds out while there is nothing to undo by it.
  redis.call('ZREM', expired, unpack(ids))
  redis.call('ZADD', expired, unpack(ends))
  undo_by('ZREM', expired, unpack(ids))
  redis.call('ZREM', leases, unpack(ids))
  undo_by(unpack(back))
  for i = 1, #due, 2 do
    local at = ends_at(tonumber(due[i + 1]), period)
    record_event(events, 'ended', due[i], at, '', '', 'expired', freed and freed(due[i], at), nil,
      put_off(tonumber(due[i + 1]), at))
  end
  return #ids
end

-- How many live. ZCARD is exact unless more was due than end_due was allowed to end.
local function count_live(leases, period)
  return redis.call('ZCOUNT', leases, '(' .. int(live_from(period)), '+inf')
end

-- Time until a seat comes free if nobody renews or releases: the expiry of the lease with
-- whose end there are fewer leases than seats. With no seat at all that is never; then it is worth asking again after a TTL.
local function first_free_in(leases, ttl, period, in_use, capacity)
  if capacity == 0 then
    return ttl
  end
  local dead = redis.call('ZCARD', leases) - in_use
  local rank = dead + math.max(in_use - capacity, 0)
  local lease = redis.call('ZRANGE', leases, rank, rank, 'WITHSCORES')
  if not lease[2] then
    return ttl
  end
  return math.max(ends_at(tonumber(lease[2]), period) - now, 1)
end
