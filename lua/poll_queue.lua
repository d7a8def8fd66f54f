-- Reports those who wait at a node with their requests held open, in one call: who is there, who is gone, and where they are now.
-- Says which of them have to ask for their seat; the others have nothing to ask.
--
-- Joined behind prelude, schedule, seats, yielding, queue, rules, blocks.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   expired  ZSET    lease id -> end, ms; not yet in a tombstone
--   events   STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   blocks   ZSET    entry of parts/blocks.lua -> end of the block, ms
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   idle     ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held     ZSET    lease id -> fence
--   named    ZSET    period, holder, since when and how
--   queue    ZSET    ticket -> order of arrival
--   waiting  ZSET    ticket -> deadline of its next request, ms
--   tickets  HASH    ticket -> what was asked for
--   line     ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads    ZSET    tenant -> arrival of its first one in line
--   called   ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--
-- Arguments:
--   new  count  how many of the waiters this node reports for the first time, or again after it said that they were gone
--   each gone:
--     gone      lease      a ticket whose client went away
--     deadline  timestamp  of its next request; 0 for one that does not come back
--   each waiter:
--     ticket  lease  first the new ones, then the others in their order; at most 500
--
-- Returns:
--   polled   what is known of the waiters
--   no_pool  there is no such pool
--
-- With:
--   deadline   timestamp  by when they have to be reported again
--   next       ms         when to report at the latest, because a seat may come free
--   each_us    count      mean time in which a seat comes free, microseconds
--   free       number     seats that are free; below 0 where there are more leases than seats
--   positions  text?      a word for each waiter, separated by blanks: its position; `-` between two that are known; or `?`: it has
--                         to ask

redis.call('PERSIST', clock)

evaluate_after_events(evaluations)
local queue_keys = { queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'linger_ms', 'schedule', 'max_waiting', 'named_seats', 'periods')
if not policy[1] then
  return answer('no_pool', { next = 1000 })
end
mark()
local ttl, capacity = tonumber(policy[2]), capacity_at(policy[1], policy[4] or nil, now)
local period = lease_period(ttl, tonumber(policy[3]))
local index = open_complete_index(config, who, seats, holders, lent, idle, held)
local next_ms = ASK_MS
local words = {}
local ids = { unpack(ARGV, ticket_of + 1, ticket_of + waiter_count) }

-- What only an acquire can answer.
if not index or not policy[5] then
  for i = 1, #ids do
    words[i] = '?'
  end
  return answer('polled', { deadline = now + SILENT_MS, next = next_ms, positions = table.concat(words, ' ') })
end

if end_due(leases, expired, events, period, 64, on_end(index)) == 64 then
  next_ms = 1
end
local waiters = open_queue(queue_keys, index, config)
for i = 1, gone_count do
  local id, told = ARGV[gone_of + i], tonumber(ARGV[deadline_of + i])
  local deadline = tonumber(redis.call('ZSCORE', waiting, id) or 0)
  if deadline > 0 and told == 0 then
    local tenant, holder = waiters.give_up(id)
    record_event(events, 'gave_up', id, now, holder, tenant, 'left')
  elseif deadline > 0 and deadline <= told then
    waiters.is_broken(id)
  end
end

local deadlines = #ids > 0 and redis.call('ZMSCORE', waiting, unpack(ids)) or {}
local before, there = {}, { 'XX' }
for i = 1, #ids do
  local deadline = tonumber(deadlines[i] or nil)
  if not deadline or waits_until(deadline, SILENT_MS) <= now then
    words[i] = '?'
  else
    -- Whoever is late may have been passed over.
    if i <= new or waits_until(deadline, SILENT_MS) - KEPT_MS <= now then
      waiters.is_back(ids[i], tonumber(redis.call('ZSCORE', queue, ids[i])))
    end
    local n = #before
    before[n + 1], before[n + 2] = int(deadline), ids[i]
    there[n + 2], there[n + 3] = int(math.max(deadline, now + SILENT_MS)), ids[i]
  end
end
if #before > 0 then
  undo_by('ZADD', waiting, unpack(before))
  redis.call('ZADD', waiting, unpack(there))
end
if not waiters.drop_silent(events) then
  next_ms = 1
end
-- A node of the version before does not know that a tenant has room again.
waiters.find_heads(16)
waiters.call_next()
if waiters.more then
  next_ms = 1
end

-- The called ones, the next that would be passed over first; and those who can have a seat of another kind, or none at all any more.
local row_of = {}
for i = 1, #ids do
  row_of[ids[i]] = i
end
local next_called = redis.call('ZRANGE', called, 0, 255, 'WITHSCORES')
for i = 1, #next_called, 2 do
  local row = row_of[string.sub(next_called[i], -22)]
  if row then
    words[row] = '?'
  end
end
local named_left = 0
if policy[6] then
  named_left = tonumber(policy[6]) - named_taken(named, (period_of(policy[7], now)))
end
if #ids > 0 and (named_left > 0 or index.per_holder or redis.call('EXISTS', blocks) == 1) then
  local asked = redis.call('HMGET', tickets, unpack(ids))
  for i = 1, #ids do
    local tenant, holder = string.match(asked[i] or '', '^([^\1]*)\1([^\1]*)')
    holder = holder or ''
    if holder ~= '' and not words[i] then
      if named_left > 0 then
        words[i], named_left = '?', named_left - 1
      elseif index.per_holder and leases_of(index, holder .. '\1c') > 0
        or block_of(blocks, holder, tenant) > now then
        words[i] = '?'
      end
    end
  end
end

local rank = -1
for i = 1, #ids do
  if words[i] ~= '?' then
    if i <= new or rank < 100 or i % 16 == 0 or i == #ids then
      rank = redis.call('ZRANK', queue, ids[i])
      words[i] = rank and int(rank + 1) or '?'
      rank = rank or -1
    else
      words[i] = '-'
    end
  end
end

-- When there may be a seat by time alone.
local lease = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
if lease[2] then
  next_ms = math.min(next_ms, ends_at(tonumber(lease[2]), period) - now)
end
local change = next_change(index.schedule, now)
if change then
  next_ms = math.min(next_ms, change - now)
end
if next_called[2] then
  next_ms = math.min(next_ms, waits_until(tonumber(next_called[2]), ASK_MS + LATE_MS) - now)
end
local each, free = pace_for(index, ttl, capacity)
return answer('polled', { deadline = now + SILENT_MS, next = math.floor(math.max(next_ms, 1)), each_us = math.floor(each * 1000),
  free = free, positions = table.concat(words, ' ') })
