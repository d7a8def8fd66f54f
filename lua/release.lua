-- Frees a seat now, permanently. Releasing what has ended is a success too.
--
-- Joined behind prelude, tombstone, schedule, seats, yielding, queue.
--
-- Keys of a pool:
--   clock             HASH    the bucket's clock
--   config            HASH    the pool's policy
--   leases            ZSET    lease id -> expiry, ms
--   expired           ZSET    lease id -> end, ms; not yet in a tombstone
--   events            STREAM  the pool's history
--   evaluations       ZSET    pool -> when its alerts are to be evaluated, ms
--   records           HASH    lease id -> what is known of the lease
--   who               HASH    lease id -> kind of seat, fence, tenant and holder
--   seats             HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders           ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent              HASH    seat-milliseconds of overdraft, by day
--   idle              ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held              ZSET    lease id -> fence
--   queue             ZSET    ticket -> order of arrival
--   waiting           ZSET    ticket -> deadline of its next request, ms
--   tickets           HASH    ticket -> what was asked for
--   line              ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads             ZSET    tenant -> arrival of its first one in line
--   called            ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   evicted           ZSET    lease id -> end, ms; not yet in a tombstone
--   tombstone(id)     HASH    how the lease ended
--   pool_mark         HASH    what was ended at once in this pool: up to which fence, and why
--   holder_mark(...)  HASH    the same of this holder
--   tenant_mark(...)  HASH    the same of this tenant
--
-- Arguments:
--   id      lease  the lease
--   fence   count  of the lease
--   holder  text?  for the event; none if it is anonymous
--   tenant  text?  for the event
--   keep    ms     how long the tombstone stays: as long as a token of the lease could be shown
--
-- Returns:
--   released  the lease was live
--   expired   it had ended by time, and no tombstone said so yet; it is released all the same, so that it cannot be
--             resumed
--   ended     it had ended before, or there never was one; it is released all the same, unless a policy had ended it
--   behind    more was due than one call ends

redis.call('PERSIST', clock)
evaluate_after_events(evaluations)

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local period = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0))
local index = open_index(config, who, seats, holders, lent, idle, held)
if index and (index.lent_seats or index.per_holder or index.queues) then
  -- What ended before this is charged before this, and frees no seat that is freed by this.
  -- Thousands may have ended at one instant; each call ends some of them.
  if end_due(leases, expired, events, period, 64, on_end(index)) == 64 then
    mark()
    return answer('behind')
  end
end
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
local live = score > live_from(period)
local status = live and 'released' or score > 0 and 'expired' or 'ended'
mark()

if score > 0 then
  take_out(leases, id, int(score))
  local at = live and now or ends_at(score, period)
  record_event(events, 'ended', id, at, holder, tenant, live and 'released' or 'expired',
    index and seat_freed(index, at, id))
end
if not live then
  if redis.call('ZSCORE', evicted, id) then
    -- What it ended for is in its record, and goes into a tombstone from there.
    hand_on({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }, index, config)
    return answer('ended')
  end
  undo_member(expired, id)
  if redis.call('ZREM', expired, id) == 1 then
    status = 'expired'
  end
end

local reason = redis.call('HGET', tombstone, 'reason')
-- One that was ended together with others has no tombstone of its own, and stays ended by theirs.
local function was_ended_at_once()
  return ended_by(pool_mark, fence) or (holder ~= '' and ended_by(holder_mark, fence))
    or (tenant ~= '' and ended_by(tenant_mark, fence))
end
if not reason or reason == 'expired' then
  if live or not was_ended_at_once() then
    write_tombstone(tombstone, keep, 'reason', 'released', 'ended', int(now))
  end
end
hand_on({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }, index, config)
-- The last call, because nothing takes it back.
redis.call('HDEL', records, id)
return answer(status)
