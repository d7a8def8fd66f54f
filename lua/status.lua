-- Reads a pool: its policy and how full it is.
--
-- KEYS[1]  clock    HASH  the bucket's clock
-- KEYS[2]  config   HASH  the pool's policy
-- KEYS[3]  leases   ZSET  lease id -> expiry, ms
-- KEYS[4]  who      HASH  lease id -> kind of seat, fence, tenant and holder
-- KEYS[5]  seats    HASH  seats in use: all, overdraft, named, t:<tenant>
-- KEYS[6]  holders  ZSET  holder, kind, tenant, fence and lease id; in this order
-- KEYS[7]  lent     HASH  seat-milliseconds of overdraft, by day
-- KEYS[8]  waiting  ZSET  ticket -> until when it has to ask again, ms
-- KEYS[9]  named    ZSET  period, holder, since when and how
--
-- Returns { status, seq, now_ms, in_use, capacity, version, policy, leases, waiting, lent_ms, named_taken, change_at_ms, change_capacity, period_ms, period_end_ms, incarnation, seats }
--   read        policy is the JSON that was put; capacity the seats now; lent_ms what was lent today; change_at_ms 0
--               for no change to come; seats are field after value of the index
--   behind      the rules count more than leases, and something is due: sweep, and ask again
--   unindexed   the index does not know all leases; the caller makes it and asks again
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

local config, leases = KEYS[2], KEYS[3]

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'version', 'policy', 'schedule', 'periods', 'indexed', 'incarnation',
  'linger_ms')
if not policy[1] then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0', '0', '0', '', '0', '0', '0', '0', '0', '0', '0', '0', '0', {} }
end
local ttl, schedule = tonumber(policy[2]), policy[5] or nil
local live = count_live(leases, lease_period(ttl, tonumber(policy[9])))
local in_use, seats, lent_ms, taken = live, {}, 0, 0
local period, stop = '0', '0'
local index = policy[7] and open_complete_index(config, KEYS[4], KEYS[5], KEYS[6], KEYS[7])
if index then
  if live < redis.call('ZCARD', leases) then
    return { 'behind', int(seq), int(now), '0', '0', '0', '', '0', '0', '0', '0', '0', '0', '0', '0', '0', {} }
  elseif not is_whole(index, leases) then
    return { 'unindexed', int(seq), int(now), '0', '0', '0', '', '0', '0', '0', '0', '0', '0', '0', '0', '0', {} }
  end
  seats = redis.call('HGETALL', index.seats)
  in_use = tonumber(redis.call('HGET', index.seats, 'all') or 0)
  if index.lent_seats then
    local today = now - now % DAY
    lent_ms = tonumber(redis.call('HGET', index.lent, int(today)) or 0)
    each_loan(index, now, function(day, time, lent)
      lent_ms = lent_ms + (day == today and time * lent or 0)
    end)
  end
  if policy[6] then
    period, stop = period_of(policy[6], now)
    taken = named_taken(KEYS[9], period)
  end
end
local change_at, change_to = next_change(schedule, now)
return { 'read', int(seq), int(now), int(in_use), int(capacity_at(policy[1], schedule, now)), policy[3], policy[4],
  int(live), int(redis.call('ZCOUNT', KEYS[8], '(' .. int(live_from(SILENT_MS)), '+inf')), int(lent_ms), int(taken),
  int(change_at or 0), int(change_to or 0), period, stop ~= '' and stop or '0', policy[8] or '0', seats }
