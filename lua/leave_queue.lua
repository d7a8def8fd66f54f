-- Takes somebody out of the queue who leaves it, or takes back a seat that nobody is there to hear of.
--
-- Joined behind prelude, schedule, seats, yielding, queue.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   expired  ZSET    lease id -> end, ms; not yet in a tombstone
--   events   STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   records  HASH    lease id -> what is known of the lease
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   idle     ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held     ZSET    lease id -> fence
--   queue    ZSET    ticket -> order of arrival
--   waiting  ZSET    ticket -> deadline of its next request, ms
--   tickets  HASH    ticket -> what was asked for
--   line     ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads    ZSET    tenant -> arrival of its first one in line
--   called   ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--
-- Arguments:
--   id          lease         the ticket, and the lease that it may have got
--   how         left|unheard  by a call; or the connection broke after the grant
--   expires_at  timestamp     of the grant, for unheard: it is another one if somebody asked since
--   fence       count         of the lease that nobody heard of
--   arrival     count         order of arrival, as the grant said it
--   turn        text?         since when it waited, and what stood in the ticket, as the grant said it
--
-- Returns:
--   left      its place is free
--   granted   it had its turn; the caller releases the lease
--   returned  the seat is free, and it has its place again until it is silent for too long; meanwhile it is passed over
--   asked     it asked again meanwhile, so it is not gone
--   none      it has no place, and no lease
--   behind    more was due than one call ends; ask again at once

redis.call('PERSIST', clock)

evaluate_after_events(evaluations)
local queue_keys = { queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local period = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0))
local index = open_index(config, who, seats, holders, lent, idle, held)

if how == 'unheard' then
  local kind, known, tenant, holder
  if index then
    kind, known, tenant, holder = seat_of(index, id)
  end
  if tonumber(redis.call('ZSCORE', leases, id) or 0) ~= expires_at or tonumber(known) ~= fence then
    return answer('asked')
  end
  mark()
  -- What ended before this is charged before this.
  if end_due(leases, expired, events, period, 64, on_end(index)) == 64 then
    return answer('behind')
  end
  if not take_out(leases, id, int(expires_at)) then
    return answer('none')
  end
  record_event(events, 'ended', id, now, holder, tenant, 'released', seat_freed(index, now, id))
  local since, asked = string.match(turn, '^(%d+)\1(.*)$')
  local waiters = open_queue(queue_keys, index, config)
  waiters.take_place(id, arrival, tonumber(since), asked, SILENT_MS)
  waiters.is_broken(id)
  waiters.file((string.match(asked, '^[^\1]*')), arrival, id)
  waiters.call_next()
  record_event(events, 'queued', id, now, holder, tenant, 'returned')
  -- There is no tombstone, because there is no token of it: the ticket may get a lease of this id again. The last call,
  -- because nothing takes it back.
  redis.call('HDEL', records, id)
  return answer('returned')
end

if redis.call('HEXISTS', tickets, id) == 0 then
  return answer(redis.call('ZSCORE', leases, id) and 'granted' or 'none')
end
mark()
local waiters = open_queue(queue_keys, index, config)
local tenant, holder, was_called = waiters.give_up(id)
record_event(events, 'gave_up', id, now, holder, tenant, 'left')
-- A seat that was kept for it is the next one's.
if was_called then
  waiters.call_next()
end
return answer('left')
