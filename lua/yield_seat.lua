-- Gives the seat of a lease to whoever asked first for one, by request_seat.lua, and still waits. The lease ends with all that share its seat.
--
-- Joined behind prelude, record, schedule, seats, yielding, queue, idle.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   due      ZSET    pool -> lower bound of its earliest expiry, ms
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   expired  ZSET    lease id -> end, ms; not yet in a tombstone
--   evicted  ZSET    lease id -> end, ms; not yet in a tombstone
--   events   STREAM  the pool's history
--   evaluations  ZSET  pool -> when its alerts are to be evaluated, ms
--   records  HASH    lease id -> what is known of the lease
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, idle, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   idle     ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held     ZSET    lease id -> fence
--   queue    ZSET    ticket -> order of arrival
--   waiting  ZSET    ticket -> deadline of its next request, ms
--   tickets  HASH    ticket -> what was asked for
--   line     ZSET    those who are to be called, those who are called, and requests
--   heads    ZSET    tenant -> arrival of its first one in line
--   called   ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   tombstone(id)  HASH  how the lease ended
--
-- Arguments:
--   name  pool   the pool, for the due index
--   id    lease  the lease
--
-- Returns:
--   yielded     the lease has ended, now or by the same call before, and a seat is kept for whoever asked
--   no_request  nobody asks who could have this seat; the lease goes on, if it lives
--   behind      more was due than one call ends

redis.call('PERSIST', clock)

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms', 'hand_over_ms')
local period, answer_ms = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0)), tonumber(policy[3])
local index = open_index(config, who, seats, holders, lent, idle, held)
if tonumber(redis.call('ZSCORE', leases, id) or 0) <= live_from(period) then
  local record, known = read_record(records, id), redis.call('HMGET', tombstone, 'reason', 'message')
  local why = redis.call('ZSCORE', evicted, id) and record and record[WHY] or known[1] == 'evicted' and known[2]
  return answer(why == 'handed_over' and 'yielded' or 'no_request')
end
if not answer_ms or not index or index.incomplete then
  return answer('no_request')
end

mark()
evaluate_after_events(evaluations)
if end_due(leases, expired, events, period, 64, on_end(index)) == 64 then
  return answer('behind')
end
local keys = { queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }
local kind, _, tenant, holder = seat_of(index, id)
local asker, of, arrival
if kind and kind ~= 'n' then
  asker, of, arrival = open_queue(keys, index, config).find_asker(tenant, answer_ms)
end
if not asker then
  hand_on(keys, index, config)
  return answer('no_request')
end
local pool = { leases = leases, evicted = evicted, records = records, events = events, due = due, name = name }
take_seat(pool, index, { id = id, holder = holder, reason = 'handed_over' })
local waiters = open_queue(keys, index, config)
waiters.call(asker, of, arrival)
waiters.call_next()
return answer('yielded')
