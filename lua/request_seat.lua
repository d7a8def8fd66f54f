-- Asks the holders of a pool for a seat, in the name of somebody who waits. They read it in their heartbeats, and one may yield.
--
-- Joined behind prelude, schedule, seats, yielding, queue.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   config   HASH    the pool's policy
--   events   STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   queue    ZSET    ticket -> order of arrival
--   waiting  ZSET    ticket -> deadline of its next request, ms
--   tickets  HASH    ticket -> what was asked for
--   line     ZSET    those who are to be called, those who are called, and requests
--   heads    ZSET    tenant -> arrival of its first one in line
--   called   ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--
-- Arguments:
--   id  lease  the ticket
--
-- Returns:
--   requested    holders are told; asking again changes nothing until the time is over
--   off          the pool's policy does not offer it
--   not_waiting  the ticket has its seat, or its place is lost
--   no_pool      there is no such pool
--   recovering   data was lost, and the pool was not put back yet
--
-- With:
--   rest  ms  for how long they are told

redis.call('PERSIST', clock)

local policy = redis.call('HMGET', config, 'capacity', 'hand_over_ms')
if not policy[1] then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
if not policy[2] then
  return answer('off')
end
local answer_ms = tonumber(policy[2])
local deadline = tonumber(redis.call('ZSCORE', waiting, id) or 0)
if waits_until(deadline, SILENT_MS) <= now then
  return answer('not_waiting')
end
local known = redis.call('HMGET', tickets, id, 'requested:' .. id)
local rest = known[2] and waits_until(tonumber(known[2]), answer_ms) - now or 0
if rest > 0 then
  return answer('requested', { rest = rest })
end

mark()
evaluate_after_events(evaluations)
local index = open_index(config, who, seats, holders, lent)
local waiters = open_queue({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }, index, config)
waiters.request(id, answer_ms)
local tenant, holder = string.match(known[1] or '\1\1', '^([^\1]*)\1([^\1]*)')
record_event(events, 'seat_requested', id, now, holder, tenant, '')
return answer('requested', { rest = answer_ms })
