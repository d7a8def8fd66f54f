-- Ends what is due in a pool and says whose records have to be stamped with it. Nothing waits for this:
-- whoever counts, counts only those who live.
--
-- Joined behind prelude, due, schedule, seats, yielding, queue, rules.
--
-- Keys of a pool:
--   clock        HASH    the bucket's clock
--   due          ZSET    pool -> lower bound of its earliest expiry, ms
--   config       HASH    the pool's policy
--   leases       ZSET    lease id -> expiry, ms
--   expired      ZSET    lease id -> end, ms; not yet in a tombstone
--   events       STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   denied       ZSET    holder -> start of its present run of denials, ms
--   blocks       ZSET    entry of parts/blocks.lua -> end of the block, ms
--   who          HASH    lease id -> kind of seat, fence, tenant and holder
--   seats        HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders      ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent         HASH    seat-milliseconds of overdraft, by day
--   idle         ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held         ZSET    lease id -> fence
--   queue        ZSET    ticket -> order of arrival
--   evicted      ZSET    lease id -> end, ms; not yet in a tombstone
--   named        ZSET    period, holder, since when and how
--   waiting      ZSET    ticket -> deadline of its next request, ms
--   tickets      HASH    ticket -> what was asked for
--   line         ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads        ZSET    tenant -> arrival of its first one in line
--   called       ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   alerts       HASH    what is known of the pool's alerts
--   block_notes  HASH    the same entry -> end and start of the block, its author and its reason
--
-- Arguments:
--   pool   pool   for the due index
--   limit  count  maximum of leases to end, and of ids to return
--   keep   ms     age at which events are dropped
--
-- Returns:
--   swept   what was due has ended, up to the limit
--   closed  the pool has no policy, and none that could still be put back: its deletion has to be finished
--
-- With:
--   true_denials  count  holders that have been denied for two minutes and got no seat
--   each lease:  those to stamp
--     id  lease  the lease

redis.call('PERSIST', clock)
evaluate_after_events(evaluations)

-- Leases of a pool that was lost end by their own score.
local policy = redis.call('HMGET', config, 'ttl_ms', 'rules', 'schedule', 'noted', 'periods', 'indexing', 'linger_ms')
if not policy[1] and not may_be_lost() then
  return answer('closed')
end
local ttl, rules, schedule, noted, periods = tonumber(policy[1] or 0), policy[2], policy[3], policy[4], policy[5]
local period = lease_period(ttl, tonumber(policy[7] or 0))
local index = open_index(config, who, seats, holders, lent, idle, held)
mark()
-- Whoever made the index has given up.
local given_up = policy[6] and not index
if given_up then
  undo_fields(config, 'indexed', 'indexing')
  redis.call('HDEL', config, 'indexed', 'indexing')
end

end_due(leases, expired, events, period, limit, on_end(index))
-- A holder that was denied for two minutes starts a new run with its next denial.
local true_denials = redis.call('ZCOUNT', denied, '-inf', int(now - RUN))
if true_denials > 0 and ttl > 0 then
  add(alerts, 'denied', true_denials)
  undo_fields(alerts, 'look_at')
  redis.call('HSET', alerts, 'look_at', int(now))
  undo_member(evaluations, pool)
  redis.call('ZADD', evaluations, 'LT', int(now), pool)
end
local ids = redis.call('ZRANGE', expired, 0, limit - 1)
if rules and #ids < limit then
  local more = redis.call('ZRANGE', evicted, 0, limit - #ids - 1)
  for i = 1, #more do
    ids[#ids + 1] = more[i]
  end
end
add_each_lease(ids)

local next_at = next_due(leases, denied, period, true_denials)
undo_member(due, pool)
if next_at < math.huge then
  redis.call('ZADD', due, int(next_at), pool)
elseif #ids < limit then
  redis.call('ZREM', due, pool)
end

-- Rules have instants of their own: a change of capacity, a waiter that falls silent, a new period.
if rules then
  if index and not index.incomplete and redis.call('EXISTS', queue) == 1 then
    local waiters = open_queue({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called },
      index, config)
    waiters.drop_silent(events)
    waiters.call_next()
    due_by_hold(index, due, pool)
  end
  local silent = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')
  if silent[1] then
    redis.call('ZADD', due, 'LT', int(waits_until(tonumber(silent[2]), SILENT_MS)), pool)
  end
  if schedule then
    note_changes(config, schedule, tonumber(noted), events, due, pool)
  end
  if periods and index then
    local _, carried = roll_over(index, named, periods)
    local _, stop = period_of(periods, now)
    stop = carried and stop or int(now)
    if stop ~= '' then
      redis.call('ZADD', due, 'LT', stop, pool)
    end
  end
end
drop_old(blocks, block_notes, events, keep)
-- The last calls, because nothing takes them back.
if given_up then
  redis.call('UNLINK', who, seats, holders)
end
if true_denials > 0 then
  redis.call('ZREMRANGEBYSCORE', denied, '-inf', int(now - RUN))
end
return answer('swept', { true_denials = true_denials })
