-- Ends what is due in a pool and says whose records have to be stamped with it. Nothing waits for this:
-- whoever counts, counts only those who live.
--
-- KEYS[1]   clock    HASH    the bucket's clock
-- KEYS[2]   due      ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]   config   HASH    the pool's policy
-- KEYS[4]   leases   ZSET    lease id -> expiry, ms
-- KEYS[5]   expired  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[6]   events   STREAM  the pool's history
-- KEYS[7]   denied   ZSET    holder -> begin of its present run of denials, ms
-- KEYS[8]   blocks   ZSET    holder -> until when it may not acquire, ms
-- KEYS[9]   who      HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[10]  seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[11]  holders  ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[12]  lent     HASH    seat-milliseconds of overdraft, by day
-- KEYS[13]  queue    ZSET    ticket -> order of arrival
-- KEYS[14]  evicted  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[15]  named    ZSET    period, holder, since when and how
-- KEYS[16]  waiting  ZSET    ticket -> until when it has to ask again, ms
-- KEYS[17]  tickets  HASH    ticket -> what was asked for
-- KEYS[18]  alerts   HASH    what is known of the pool's alerts
-- KEYS[19]  notes    HASH    holder -> until when it is blocked, since when, by whom and why
--
-- ARGV[1]  pool     name of the pool
-- ARGV[2]  limit    at most so many leases, and so many ids
-- ARGV[3]  keep_ms  age at which events are dropped
--
-- Returns { status, seq, now_ms, true_denials, then ids }
--   swept     true_denials is how many holders have been denied for two minutes and got no seat
--   closed    the pool has no policy, and none that could still be put back: its deletion has to be finished
--   unopened  the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local due, config, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, denied, blocks = KEYS[6], KEYS[7], KEYS[8]
local pool, limit, keep_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- Leases of a pool that was lost end by their own score.
local policy = redis.call('HMGET', config, 'ttl_ms', 'rules', 'schedule', 'noted', 'periods', 'indexing', 'linger_ms')
if not policy[1] and not may_be_lost() then
  return { 'closed', int(seq), int(now), '0' }
end
local ttl, rules, schedule, noted, periods = tonumber(policy[1] or 0), policy[2], policy[3], policy[4], policy[5]
local period = lease_period(ttl, tonumber(policy[7] or 0))
local index = open_index(config, KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13])
mark()
-- Whoever made the index has given up.
local given_up = policy[6] and not index
if given_up then
  undo_fields(config, 'indexed', 'indexing')
  redis.call('HDEL', config, 'indexed', 'indexing')
end

end_due(leases, expired, events, period, limit, on_end(index))
-- Who was denied for two minutes begins a new run with its next denial.
local true_denials = redis.call('ZCOUNT', denied, '-inf', int(now - RUN))
if true_denials > 0 and ttl > 0 then
  add(KEYS[18], 'denied', true_denials)
  undo_fields(KEYS[18], 'look_at')
  redis.call('HSET', KEYS[18], 'look_at', int(now))
end
local reply = { 'swept', int(seq), int(now), int(true_denials) }
local ids = redis.call('ZRANGE', expired, 0, limit - 1)
if rules and #ids < limit then
  local more = redis.call('ZRANGE', KEYS[14], 0, limit - #ids - 1)
  for i = 1, #more do
    ids[#ids + 1] = more[i]
  end
end
for i = 1, #ids do
  reply[#reply + 1] = ids[i]
end

local next_at = next_due(leases, denied, period, true_denials)
undo_member(due, pool)
if next_at < math.huge then
  redis.call('ZADD', due, int(next_at), pool)
elseif #ids < limit then
  redis.call('ZREM', due, pool)
end

-- Rules have instants of their own: a change of capacity, a waiter that falls silent, a new period.
if rules then
  drop_the_silent(KEYS[13], KEYS[16], KEYS[17], events)
  local silent = redis.call('ZRANGE', KEYS[16], 0, 0, 'WITHSCORES')
  if silent[1] then
    redis.call('ZADD', due, 'LT', int(ends_at(tonumber(silent[2]), SILENT_MS)), pool)
  end
  if schedule then
    note_changes(config, schedule, tonumber(noted), events, due, pool)
  end
  if periods and index then
    roll_over(index, KEYS[15], periods)
    local _, stop = period_of(periods, now)
    if stop ~= '' then
      redis.call('ZADD', due, 'LT', stop, pool)
    end
  end
end
drop_old(blocks, KEYS[19], events, keep_ms)
-- The last calls, because nothing takes them back.
if given_up then
  redis.call('UNLINK', KEYS[9], KEYS[10], KEYS[11])
end
if true_denials > 0 then
  redis.call('ZREMRANGEBYSCORE', denied, '-inf', int(now - RUN))
end
return reply
