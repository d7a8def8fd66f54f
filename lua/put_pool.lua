-- Creates a pool or replaces its policy, at one instant for all nodes. Rules that count by an index are put only when all
-- leases are in it: until then the rules of before decide, and the caller makes the index in bites and asks again.
--
-- KEYS[1]   clock    HASH    the bucket's clock
-- KEYS[2]   pools    ZSET    the bucket's pools -> version
-- KEYS[3]   config   HASH    the pool's policy
-- KEYS[4]   events   STREAM  the pool's history
-- KEYS[5]   due      ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[6]   leases   ZSET    lease id -> expiry, ms
-- KEYS[7]   expired  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[8]   who      HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[9]   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[10]  holders  ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[11]  lent     HASH    seat-milliseconds of overdraft, by day
-- KEYS[12]  queue    ZSET    ticket -> order of arrival
-- KEYS[13]  blocks   ZSET    holder -> until when it may not acquire, ms
-- KEYS[14]  named    ZSET    period, holder, since when and how
-- KEYS[15]  waiting  ZSET    ticket -> until when it has to ask again, ms
-- KEYS[16]  tickets  HASH    ticket -> what was asked for
-- KEYS[17]  line     ZSET    those who are to be called, and those who are called, by tenant and arrival
-- KEYS[18]  heads    ZSET    tenant -> arrival of its first one in line
-- KEYS[19]  called   ZSET    tenant, arrival and ticket -> until when a seat is kept for it, ms
-- KEYS[20..] rest  everything else of the pool; a new pool begins without it
--
-- ARGV[1]  pool     name of the pool
-- ARGV[2]  expect   any · none (must not exist) · some (must exist) · the version it must have
-- ARGV[3]  version  0; or the version of a lost policy that a node puts back, which yields to a newer one
-- ARGV[4]  policy   JSON, as operators read it
-- ARGV[5]  capacity
-- ARGV[6]  ttl_ms
-- ARGV[7]  linger_ms
-- ARGV[8]  resume_window_ms
-- ARGV[9]  incarnation  that of the lost pool, where one is put back, or 0
-- ARGV[10] whole    1 to wait until all leases are in the index; 0 to put rules that then deny until somebody has seen to that
-- ARGV[11..] rules  name and value of each rule that the pool has
--
-- Returns { status, seq, now_ms, version, incarnation }
--   created   it is new
--   replaced  it has a new policy, which may be the same
--   kept      the one that is there is not older than the one put back
--   in_use    seat_per can change only while nobody has a seat; holder_match also only while nobody waits for one, no block is
--             set, and no named seat of the last period is taken
--   conflict  it is not what was expected; version is the present one, 0 for none
--   indexing  nothing has changed but that starts and ends keep the index in step from now on: take the leases into it, and
--             ask again
--   behind    more was due than one call ends: sweep, and ask again
--   unopened  the bucket has no clock; only three fields

local pools, config, events, due, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local pool, expect, put_back, policy = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local capacity, ttl = ARGV[5], ARGV[6]

local before = redis.call('HMGET', config, 'version', 'ttl_ms', 'ttl_before_ms', 'ttl_changed_ms', 'schedule', 'noted',
  'incarnation', 'linger_ms')
local version = tonumber(before[1] or 0)

if put_back > 0 then
  if version >= put_back then
    return { 'kept', int(seq), int(now), int(version), before[7] or '0' }
  end
elseif (expect == 'none' and version > 0) or (expect == 'some' and version == 0)
  or (tonumber(expect) and tonumber(expect) ~= version) then
  return { 'conflict', int(seq), int(now), int(version), '0' }
end

local period = version > 0 and lease_period(tonumber(before[2]), tonumber(before[8]))
local rules = {}
for i = 11, #ARGV, 2 do
  rules[ARGV[i]] = ARGV[i + 1]
end
local seat_per, holder_match = unpack(redis.call('HMGET', config, 'seat_per', 'holder_match'))
seat_per, holder_match = seat_per or nil, holder_match or nil

-- Whether anything is kept by the name of a holder, and decides.
local function knows_holders()
  local last = string.sub(redis.call('ZREVRANGE', KEYS[14], 0, 0)[1] or '', 1, 13)
  return redis.call('ZCARD', KEYS[12]) > 0 or redis.call('ZCOUNT', KEYS[13], '(' .. int(now), '+inf') > 0
    or redis.call('ZLEXCOUNT', KEYS[14], '[' .. last .. '\1', '(' .. last .. '\2') > 0
end

if version > 0 and put_back == 0 then
  local has_leases = count_live(leases, period) > 0
  if (seat_per ~= rules.seat_per and has_leases)
    or (holder_match ~= rules.holder_match and (has_leases or knows_holders())) then
    return { 'in_use', int(seq), int(now), int(version), '0' }
  end
end

mark()
local index = open_index(config, KEYS[8], KEYS[9], KEYS[10], KEYS[11])
if index then
  -- What happened before this is counted and charged by the rules of before.
  if end_due(leases, expired, events, period, 256, on_end(index)) == 256 then
    return { 'behind', int(seq), int(now), int(version), '0' }
  end
  settle(index, now)
end
if version > 0 and rules.indexed and ARGV[10] == '1' then
  local begin = not index and redis.call('EXISTS', leases) == 1
  if begin then
    redis.call('UNLINK', KEYS[8], KEYS[9], KEYS[10])
  end
  if begin or (index and index.incomplete and not is_whole(index, leases)) then
    undo_fields(config, 'indexed', 'indexing')
    redis.call('HSET', config, 'indexed', '1', 'indexing', int(now + INDEXING_MS))
    return { 'indexing', int(seq), int(now), int(version), '0' }
  end
end
if version > 0 and before[5] then
  note_changes(config, before[5], tonumber(before[6]), events, due, pool)
end

-- From the clock, so that a pool that was deleted and made again does not repeat an old version.
local new_version = put_back > 0 and put_back or math.max(version + 1, now)
-- Tells the leases of this pool from those of earlier ones of the same name: theirs have no greater fence.
local incarnation = before[7] or ARGV[9]
if version == 0 and put_back == 0 then
  incarnation = int(last_fence())
  -- What another version of this program may have left.
  redis.call('UNLINK', leases, expired, events, KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12])
  for i = 13, #KEYS do
    redis.call('UNLINK', KEYS[i])
  end
end
local was = redis.call('HGETALL', config)
redis.call('DEL', config)
if #was > 0 then
  undo_by('HSET', config, unpack(was))
end
undo_by('DEL', config)
redis.call('HSET', config, 'version', int(new_version), 'policy', policy, 'capacity', capacity, 'ttl_ms', ttl,
  'linger_ms', ARGV[7], 'resume_window_ms', ARGV[8], 'incarnation', incarnation)
if before[2] and before[2] ~= ttl then
  -- From the expiry and the TTL follows the last beat; leases renewed before this need the old TTL.
  redis.call('HSET', config, 'ttl_before_ms', before[2], 'ttl_changed_ms', int(now))
elseif before[3] then
  redis.call('HSET', config, 'ttl_before_ms', before[3], 'ttl_changed_ms', before[4])
end
for name, value in pairs(rules) do
  redis.call('HSET', config, name, value)
end
if rules.rules then
  redis.call('HSET', config, 'noted', int(now))
  redis.call('ZADD', due, 'LT', int(now), pool)
end
-- More seats, or less strict rules: those who are next for them are called, and nodes look at what else is new for those who wait.
if redis.call('EXISTS', KEYS[12]) == 1 then
  notify(KEYS[12], '+')
  if rules.indexed and index and seat_per == rules.seat_per then
    local queue = open_queue({ queue = KEYS[12], waiting = KEYS[15], tickets = KEYS[16], line = KEYS[17], heads = KEYS[18],
      called = KEYS[19] }, open_index(config, KEYS[8], KEYS[9], KEYS[10], KEYS[11]), config)
    queue.find_heads(1000)
    queue.call_next()
  end
end
undo_member(pools, pool)
redis.call('ZADD', pools, int(new_version), pool)
redis.call('HSET', clock, 'longest_ttl', int(math.max(longest_ttl, tonumber(ttl))))
redis.call('HINCRBY', clock, 'revision', 1)
record_event(events, 'configured', '', now, '', '', int(capacity_at(capacity, rules.schedule, now)))
-- An index is made again from the records when a rule needs one that was not there before, or counts otherwise. The last
-- call, because nothing takes it back.
if not rules.indexed or not index or seat_per ~= rules.seat_per then
  redis.call('UNLINK', KEYS[8], KEYS[9], KEYS[10])
end
return { version > 0 and 'replaced' or 'created', int(seq), int(now), int(new_version), incarnation }
