-- Reads a pool: its policy and how full it is.
--
-- Joined behind prelude, schedule, seats, yielding, queue, rules.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   who      HASH  lease id -> kind of seat, fence, tenant and holder
--   seats    HASH  seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET  holder, kind, tenant, fence and lease id; in this order
--   lent     HASH  seat-milliseconds of overdraft, by day
--   waiting  ZSET  ticket -> deadline of its next request, ms
--   named    ZSET  period, holder, since when and how
--
-- Returns:
--   read        the pool
--   behind      the rules count more than leases, and something is due
--   unindexed   the index does not know all leases
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   in_use           count       seats in use, named ones left out
--   capacity         count       the seats now
--   version          count       of the policy
--   policy           json        as it was put
--   live             count       leases of all kinds
--   waiting_now      count       tickets in the queue
--   lent_now         ms          seat-time that was lent today
--   named_now        count       named seats that are taken in this period
--   change_at        timestamp?  the next change of capacity by the schedule
--   change_capacity  count       seats from then on
--   period           timestamp?  start of the billing period
--   period_end       timestamp   its end
--   incarnation      count       tells the pool from others of its name
--   each count:
--     name   text   a field of the index
--     value  count  its value

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'version', 'policy', 'schedule', 'periods', 'indexed', 'incarnation',
  'linger_ms')
if not policy[1] then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
local ttl, schedule = tonumber(policy[2]), policy[5] or nil
local live = count_live(leases, lease_period(ttl, tonumber(policy[9])))
local in_use, lent_now, named_now = live, 0, 0
local period, period_end
local index = policy[7] and open_complete_index(config, who, seats, holders, lent)
if index then
  if live < redis.call('ZCARD', leases) then
    return answer('behind')
  elseif not is_whole(index, leases) then
    return answer('unindexed')
  end
  add_each_count(redis.call('HGETALL', index.seats))
  in_use = tonumber(redis.call('HGET', index.seats, 'all') or 0)
  if index.lent_seats then
    local today = now - now % DAY
    lent_now = tonumber(redis.call('HGET', index.lent, int(today)) or 0)
    each_loan(index, now, function(day, time, seats_lent)
      lent_now = lent_now + (day == today and time * seats_lent or 0)
    end)
  end
  if policy[6] then
    period, period_end = period_of(policy[6], now)
    named_now = named_taken(named, period)
  end
end
local change_at, change_capacity = next_change(schedule, now)
return answer('read', { in_use = in_use, capacity = capacity_at(policy[1], schedule, now), version = policy[3], policy = policy[4],
  live = live, waiting_now = redis.call('ZCOUNT', waiting, '(' .. int(waits_from(SILENT_MS)), '+inf'), lent_now = lent_now,
  named_now = named_now, change_at = change_at, change_capacity = change_capacity, period = period,
  period_end = period_end ~= '' and period_end or nil, incarnation = policy[8] or '0' })
