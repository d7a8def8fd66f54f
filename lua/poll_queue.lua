-- Asks for all who wait at a node with their requests held open, in one call: they are there, some are gone, and where are they now.
-- Says which of them have to ask for their seat; the others have nothing to ask.
--
-- KEYS[1]   clock    HASH    the bucket's clock
-- KEYS[2]   config   HASH    the pool's policy
-- KEYS[3]   leases   ZSET    lease id -> expiry, ms
-- KEYS[4]   expired  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[5]   events   STREAM  the pool's history
-- KEYS[6]   blocks   ZSET    holder -> until when it may not acquire, ms
-- KEYS[7]   who      HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[8]   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[9]   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[10]  lent     HASH    seat-milliseconds of overdraft, by day
-- KEYS[11]  named    ZSET    period, holder, since when and how
-- KEYS[12]  queue    ZSET    ticket -> order of arrival
-- KEYS[13]  waiting  ZSET    ticket -> until when it has to ask again, ms
-- KEYS[14]  tickets  HASH    ticket -> what was asked for
-- KEYS[15]  line     ZSET    those who are to be called, and those who are called, by tenant and arrival
-- KEYS[16]  heads    ZSET    tenant -> arrival of its first one in line
-- KEYS[17]  called   ZSET    tenant, arrival and ticket -> until when a seat is kept for it, ms
--
-- ARGV[1]   gone   how many are gone: for each a ticket, and until when it was to ask again, ms; or 0 for one that does not come back
-- ARGV[2]   back   how many of those who wait this node reports for the first time, or again after it said that they were gone
-- ARGV[3..] rest   the gone, then the tickets of those who wait: first those who are back, then the others in their order; at most 500
--
-- Returns { status, seq, now_ms, until_ms, next_ms, waiting, each_us, free, places }
--   polled    until_ms is by when they have to be reported again; next_ms when to do so at the latest. each_us is the mean time in
--             which a seat comes free, free how many are. places has a word for each ticket, parted by blanks: its position;
--             `-` between two of which it is; or `?`: it has to ask
--   no_pool   there is no such pool
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local config, leases, events = KEYS[2], KEYS[3], KEYS[5]
local keys = { queue = KEYS[12], waiting = KEYS[13], tickets = KEYS[14], line = KEYS[15], heads = KEYS[16], called = KEYS[17] }
local gone, back_again = tonumber(ARGV[1]), tonumber(ARGV[2])

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'linger_ms', 'schedule', 'max_waiting', 'named_seats', 'periods')
if not policy[1] then
  return { 'no_pool', int(seq), int(now), '0', '1000', '0', '0', '0', '' }
end
mark()
local ttl, capacity = tonumber(policy[2]), capacity_at(policy[1], policy[4] or nil, now)
local period = lease_period(ttl, tonumber(policy[3]))
local index = open_complete_index(config, KEYS[7], KEYS[8], KEYS[9], KEYS[10])
local next_ms = ASK_MS
local words = {}
local first = 3 + 2 * gone
local ids = {}
for i = first, #ARGV do
  ids[#ids + 1] = ARGV[i]
end

-- What only an acquire can answer.
if not index or not policy[5] then
  for i = 1, #ids do
    words[i] = '?'
  end
  return { 'polled', int(seq), int(now), int(now + SILENT_MS), int(next_ms), '0', '0', '0', table.concat(words, ' ') }
end

if end_due(leases, KEYS[4], events, period, 64, on_end(index)) == 64 then
  next_ms = 1
end
local queue = open_queue(keys, index, config)
for i = 3, first - 1, 2 do
  local id, told = ARGV[i], tonumber(ARGV[i + 1])
  local deadline = tonumber(redis.call('ZSCORE', keys.waiting, id) or 0)
  if deadline > 0 and told == 0 then
    local tenant, holder = queue.give_up(id)
    record_event(events, 'gave_up', id, now, holder, tenant, 'left')
  elseif deadline > 0 and deadline <= told then
    queue.is_broken(id)
  end
end

local deadlines = #ids > 0 and redis.call('ZMSCORE', keys.waiting, unpack(ids)) or {}
local before, there = {}, { 'XX' }
for i = 1, #ids do
  local deadline = tonumber(deadlines[i] or nil)
  if not deadline or ends_at(deadline, SILENT_MS) <= now then
    words[i] = '?'
  else
    -- Whoever is late may have been passed over.
    if i <= back_again or ends_at(deadline, SILENT_MS) - KEPT_MS <= now then
      queue.is_back(ids[i], tonumber(redis.call('ZSCORE', keys.queue, ids[i])))
    end
    local n = #before
    before[n + 1], before[n + 2] = int(deadline), ids[i]
    there[n + 2], there[n + 3] = int(math.max(deadline, now + SILENT_MS)), ids[i]
  end
end
if #before > 0 then
  undo_by('ZADD', keys.waiting, unpack(before))
  redis.call('ZADD', keys.waiting, unpack(there))
end
if not queue.drop_silent(events) then
  next_ms = 1
end
-- A node of the version before does not know that a tenant has room again.
queue.find_heads(16)
queue.call_next()
if queue.more then
  next_ms = 1
end

-- Who is called, the next that would be passed over first; and who can have a seat of another kind, or none at all any more.
local place_of = {}
for i = 1, #ids do
  place_of[ids[i]] = i
end
local called = redis.call('ZRANGE', keys.called, 0, 255, 'WITHSCORES')
for i = 1, #called, 2 do
  local place = place_of[string.sub(called[i], -22)]
  if place then
    words[place] = '?'
  end
end
local named_left = 0
if policy[6] then
  named_left = tonumber(policy[6]) - named_taken(KEYS[11], (period_of(policy[7], now)))
end
if #ids > 0 and (named_left > 0 or index.per_holder or redis.call('EXISTS', KEYS[6]) == 1) then
  local asked = redis.call('HMGET', keys.tickets, unpack(ids))
  for i = 1, #ids do
    local holder = string.match(asked[i] or '', '^[^\1]*\1([^\1]*)') or ''
    if holder ~= '' and not words[i] then
      if named_left > 0 then
        words[i], named_left = '?', named_left - 1
      elseif index.per_holder and leases_of(index, holder .. '\1c') > 0
        or tonumber(redis.call('ZSCORE', KEYS[6], holder) or 0) > now then
        words[i] = '?'
      end
    end
  end
end

local rank = -1
for i = 1, #ids do
  if words[i] ~= '?' then
    if i <= back_again or rank < 100 or i % 16 == 0 or i == #ids then
      rank = redis.call('ZRANK', keys.queue, ids[i])
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
if called[2] then
  next_ms = math.min(next_ms, ends_at(tonumber(called[2]), ASK_MS + LATE_MS) - now)
end
local each, free = pace_for(index, ttl, capacity)
return { 'polled', int(seq), int(now), int(now + SILENT_MS), int(math.max(next_ms, 1)), int(redis.call('ZCARD', keys.queue)),
  int(each * 1000), int(free), table.concat(words, ' ') }
