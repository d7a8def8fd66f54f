-- Joined in front of every script but open.lua. KEYS[1] is always the bucket's clock.

-- Numbers leave Lua through this: tostring would write 1.7e+15, and %.0f takes three times as long.
local function int(number)
  return string.format('%d', math.floor(number + 0.5))
end

-- Redis is the only clock, read once: on Redis 7.0 it moves while a script runs.
local time = redis.call('TIME')

local clock, state, generation, tick, seq, now
local floor, back, gap, returned

-- Reads the clock of a bucket: all that follows is judged by it. False if the bucket has none: it was never opened, or was
-- emptied. All scripts but renew.lua belong to one bucket.
local function enter(key)
  clock = key
  state = redis.call('HMGET', clock, 'generation', 'tick', 'seq', 'floor', 'back', 'gap', 'longest_ttl', 'lost', 'fence')
  generation, tick, seq = tonumber(state[1]), tonumber(state[2]) or 0, tonumber(state[3]) or 0
  now = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tick)
  if not generation then
    return false
  end

  -- Every node ticks every second. A longer silence means that Redis or all nodes were away, and that
  -- holders could not beat: who lived at `floor`, the last sign of life, gets one more TTL from `back`.
  -- A silence that begins while such a grace may still be running keeps the older floor.
  floor, back, gap = tonumber(state[4]) or 0, tonumber(state[5]) or 0, tonumber(state[6]) or 0
  local silence = now - tick
  returned = silence > 3000
  if returned then
    if tick < back + (tonumber(state[7]) or 0) then
      gap = math.max(gap, silence)
    else
      floor, gap = tick, silence
    end
    back = now
  end
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
    redis.call('HSET', clock, 'tick', int(now), 'seq', int(seq),
      'floor', int(floor), 'back', int(back), 'gap', int(gap), 'silences',
      -- For the reports: in these times nobody could ask for a seat. The last 256 of them.
      string.sub((redis.call('HGET', clock, 'silences') or '') .. int(tick) .. ' ' .. int(now) .. ' ', -7168))
  else
    redis.call('HSET', clock, 'tick', int(now), 'seq', int(seq))
  end
end

-- Whether data was lost so lately that a pool which is not there may only not have been put back yet.
local function may_be_lost()
  return state[8] == '1' and now < generation + 60000
end

-- The rule for every deadline that a silence makes unfair: one that had not passed at `floor` is not over before `back`
-- and its own whole period. Deadlines up to this instant are over.
local function over_up_to(period)
  if now < back + period then
    return math.min(floor, now)
  end
  return now
end

-- The instant at which such a deadline is over, or was.
local function over_at(deadline, period)
  if floor < deadline then
    return math.max(deadline, back + period)
  end
  return deadline
end

-- Until when a pool with this TTL ends nobody because of an outage; 0 when there was none for it.
local function amnesty_until(ttl)
  if gap > math.max(3000, ttl / 4) then
    return back + ttl
  end
  return 0
end

-- A lease lives while its score is greater than this.
local function live_from(ttl)
  if now < amnesty_until(ttl) then
    return math.min(floor, now)
  end
  return now
end

-- The instant at which a lease with this score ends or ended.
local function ends_at(score, ttl)
  local amnesty = amnesty_until(ttl)
  if floor < score and score < amnesty then
    return amnesty
  end
  return score
end

-- Appends to the pool's history. All events have the same fields, which Redis stores once per block; only in a
-- pool where a lease is not always a seat of the capacity there is one more, the number of seats taken or freed.
-- Sweeps drop them by age; the number is a bound on the memory of a pool, whatever happens in it.
local function record_event(events, kind, id, at, holder, tenant, reason, seats)
  if seats then
    redis.call('XADD', events, 'MAXLEN', '~', '4000000', '*', 'type', kind, 'id', id, 'at', int(at),
      'holder', holder, 'tenant', tenant, 'reason', reason, 'seats', seats)
  else
    redis.call('XADD', events, 'MAXLEN', '~', '4000000', '*', 'type', kind, 'id', id, 'at', int(at),
      'holder', holder, 'tenant', tenant, 'reason', reason)
  end
end

-- Ends what is due, at most `limit`, in order of expiry: from `leases` to `expired`, where the instant
-- waits until a sweep has written it into the lease's tombstone. `freed`, if given, is called with the id and the
-- end of each, and says how many seats that frees. Returns how many were ended.
local function end_due(leases, expired, events, ttl, limit, freed)
  local due = redis.call('ZRANGE', leases, '-inf', int(live_from(ttl)), 'BYSCORE',
    'LIMIT', 0, limit, 'WITHSCORES')
  for i = 1, #due, 2 do
    local at = ends_at(tonumber(due[i + 1]), ttl)
    redis.call('ZREM', leases, due[i])
    redis.call('ZADD', expired, int(at), due[i])
    record_event(events, 'ended', due[i], at, '', '', 'expired', freed and freed(due[i], at))
  end
  return #due / 2
end

-- How many live. ZCARD is exact unless more was due than end_due was allowed to end.
local function count_live(leases, ttl)
  return redis.call('ZCOUNT', leases, '(' .. int(live_from(ttl)), '+inf')
end

-- Time until a seat comes free if nobody renews or releases: the expiry of as many leases as are too
-- many, plus one. With no seat at all that is never; then it is worth asking again after a TTL.
local function first_free_in(leases, ttl, in_use, capacity)
  if capacity == 0 then
    return ttl
  end
  local dead = redis.call('ZCARD', leases) - in_use
  local rank = dead + math.max(in_use - capacity, 0)
  local lease = redis.call('ZRANGE', leases, rank, rank, 'WITHSCORES')
  if not lease[2] then
    return ttl
  end
  return math.max(ends_at(tonumber(lease[2]), ttl) - now, 1)
end
