-- Takes somebody out of the queue who leaves it, or takes back a seat that nobody is there to hear of.
--
-- KEYS[1]   clock    HASH    the bucket's clock
-- KEYS[2]   config   HASH    the pool's policy
-- KEYS[3]   leases   ZSET    lease id -> expiry, ms
-- KEYS[4]   expired  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[5]   events   STREAM  the pool's history
-- KEYS[6]   records  HASH    lease id -> what is known of the lease
-- KEYS[7]   who      HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[8]   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[9]   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[10]  lent     HASH    seat-milliseconds of overdraft, by day
-- KEYS[11]  queue    ZSET    ticket -> order of arrival
-- KEYS[12]  waiting  ZSET    ticket -> until when it has to ask again, ms
-- KEYS[13]  tickets  HASH    ticket -> what was asked for
-- KEYS[14]  line     ZSET    those who are to be called, and those who are called, by tenant and arrival
-- KEYS[15]  heads    ZSET    tenant -> arrival of its first one in line
-- KEYS[16]  called   ZSET    tenant, arrival and ticket -> until when a seat is kept for it, ms
--
-- ARGV[1]  id        the ticket, and the lease that it may have got
-- ARGV[2]  how       left: by a call; unheard: its connection broke after the grant
-- ARGV[3]  until_ms  for unheard, what acquire_by_rules.lua answered as expires_at_ms; it is another one if somebody asked since
-- ARGV[4]  fence     of the lease that nobody heard of; else empty
-- ARGV[5]  arrival   for unheard, as answered with the grant: the order of its arrival
-- ARGV[6]  turn      for unheard, as answered with the grant: since when it waited, and what stood in the ticket
--
-- Returns { status, seq, now_ms }
--   left      its place is free
--   granted   it had its turn; the caller releases the lease
--   returned  the seat is free, and it has its place again until it is silent for too long; meanwhile it is passed over
--   asked     it asked again meanwhile, so it is not gone
--   none      it has no place, and no lease
--   behind    more was due than one call ends; ask again at once
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local config, leases, expired, events, records = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local keys = { queue = KEYS[11], waiting = KEYS[12], tickets = KEYS[13], line = KEYS[14], heads = KEYS[15], called = KEYS[16] }
local id, how, until_ms, fence = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local arrival, turn = ARGV[5], ARGV[6]

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local period = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0))
local index = open_index(config, KEYS[7], KEYS[8], KEYS[9], KEYS[10])

local function answer(status)
  return { status, int(seq), int(now) }
end

if how == 'unheard' then
  local kind, known, tenant, holder
  if index then
    kind, known, tenant, holder = seat_of(index, id)
  end
  if tonumber(redis.call('ZSCORE', leases, id) or 0) ~= until_ms or known ~= fence then
    return answer('asked')
  end
  mark()
  -- What ended before this is charged before this.
  if end_due(leases, expired, events, period, 64, on_end(index)) == 64 then
    return answer('behind')
  end
  if redis.call('ZREM', leases, id) == 0 then
    return answer('none')
  end
  undo_by('ZADD', leases, int(until_ms), id)
  record_event(events, 'ended', id, now, holder, tenant, 'released', seat_freed(index, now, id))
  local since, asked = string.match(turn, '^(%d+)\1(.*)$')
  local queue = open_queue(keys, index, config)
  queue.take_place(id, tonumber(arrival), tonumber(since), asked, SILENT_MS)
  queue.is_broken(id)
  queue.file((string.match(asked, '^[^\1]*')), tonumber(arrival), id)
  queue.call_next()
  record_event(events, 'queued', id, now, holder, tenant, 'returned')
  -- There is no tombstone, because there is no token of it: the ticket may get a lease of this id again. The last call,
  -- because nothing takes it back.
  redis.call('HDEL', records, id)
  return answer('returned')
end

if redis.call('HEXISTS', keys.tickets, id) == 0 then
  return answer(redis.call('ZSCORE', leases, id) and 'granted' or 'none')
end
mark()
local queue = open_queue(keys, index, config)
local tenant, holder, was_called = queue.give_up(id)
record_event(events, 'gave_up', id, now, holder, tenant, 'left')
-- A seat that was kept for it is the next one's.
if was_called then
  queue.call_next()
end
return answer('left')
