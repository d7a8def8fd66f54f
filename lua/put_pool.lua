-- Creates a pool or replaces its policy, at one instant for all nodes. Rules that count by an index are put only when all
-- leases are in it: until then the rules of before decide, and the caller makes the index in bites and asks again.
--
-- Joined behind prelude, schedule, seats, yielding, queue, ends.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   pools    ZSET    the bucket's pools -> version
--   config   HASH    the pool's policy
--   events   STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   due      ZSET    pool -> lower bound of its earliest expiry, ms
--   leases   ZSET    lease id -> expiry, ms
--   expired  ZSET    lease id -> end, ms; not yet in a tombstone
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   idle     ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held     ZSET    lease id -> fence
--   blocks   ZSET    entry of parts/blocks.lua -> end of the block, ms
--   named    ZSET    period, holder, since when and how
--   queue    ZSET    ticket -> order of arrival
--   waiting  ZSET    ticket -> deadline of its next request, ms
--   tickets  HASH    ticket -> what was asked for
--   line     ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads    ZSET    tenant -> arrival of its first one in line
--   called   ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   events_copy  STREAM  only within this script
--   each other:  everything else of the pool; a new pool begins without it
--     key(...)  STRING  of any type
--
-- Arguments:
--   pool           pool    the pool
--   expect         text    any · none (must not exist) · some (must exist) · the version it must have
--   put_back       count   0; or the version of a lost policy that a node puts back, which yields to a newer one
--   policy         json    as operators read it
--   capacity       count   seats
--   ttl            ms      until a lease ends without a heartbeat
--   linger         ms      until a lease ends that its page has left
--   resume_window  ms      how long after its expiry a lease can come back
--   put_back_as    count   the incarnation of the lost pool, where one is put back, or 0
--   whole          flag    to wait until all leases are in the index; else rules are put that deny until somebody has seen to that
--   each rule:
--     name   text  a rule that the pool has
--     value  text  as scripts read it
--
-- Returns:
--   created   it is new
--   replaced  it has a new policy, which may be the same
--   kept      the one that is there is not older than the one put back
--   in_use    seat_per can change only while nobody has a seat; holder_match also only while nobody waits for one, no block is
--             set, and no named seat of the last period is taken
--   conflict  it is not what was expected; version is the present one, 0 for none
--   indexing  nothing has changed but that starts and ends keep the index in step from now on: take the leases into it, and
--             ask again
--   behind    more was due than one call ends
--
-- With:
--   version      count  of the policy
--   incarnation  count  tells the pool from others of its name

local before = redis.call('HMGET', config, 'version', 'ttl_ms', 'ttl_before_ms', 'ttl_changed_ms', 'schedule', 'noted',
  'incarnation', 'linger_ms', 'noticed', 'idle_ms', 'details_until')
local version = tonumber(before[1] or 0)
if version > 0 then
  evaluate_after_events(evaluations)
end

if put_back > 0 then
  if version >= put_back then
    return answer('kept', { version = version, incarnation = before[7] or '0' })
  end
elseif (expect == 'none' and version > 0) or (expect == 'some' and version == 0)
  or (tonumber(expect) and tonumber(expect) ~= version) then
  return answer('conflict', { version = version })
end

local period = version > 0 and lease_period(tonumber(before[2]), tonumber(before[8]))
local rules = {}
for i = 1, rule_count do
  rules[ARGV[name_of + i]] = ARGV[value_of + i]
end
local seat_per, holder_match = unpack(redis.call('HMGET', config, 'seat_per', 'holder_match'))
seat_per, holder_match = seat_per or nil, holder_match or nil

-- Whether anything is kept by the name of a holder, and decides.
local function knows_holders()
  local last = string.sub(redis.call('ZREVRANGE', named, 0, 0)[1] or '', 1, 13)
  return redis.call('ZCARD', queue) > 0 or redis.call('ZCOUNT', blocks, '(' .. int(now), '+inf') > 0
    or redis.call('ZLEXCOUNT', named, '[' .. last .. '\1', '(' .. last .. '\2') > 0
end

if version > 0 and put_back == 0 then
  local has_leases = count_live(leases, period) > 0
  if (seat_per ~= rules.seat_per and has_leases)
    or (holder_match ~= rules.holder_match and (has_leases or knows_holders())) then
    return answer('in_use', { version = version })
  end
end

mark()
local index = open_index(config, who, seats, holders, lent, idle, held)
if index then
  -- What happened before this is counted and charged by the rules of before.
  if end_due(leases, expired, events, period, 256, on_end(index)) == 256 then
    return answer('behind', { version = version })
  end
  settle(index, now)
end
if version > 0 and rules.indexed and whole then
  local begin = not index and redis.call('EXISTS', leases) == 1
  if begin then
    redis.call('UNLINK', who, seats, holders)
  end
  if begin or (index and index.incomplete and not is_whole(index, leases)) then
    undo_fields(config, 'indexed', 'indexing')
    redis.call('HSET', config, 'indexed', '1', 'indexing', int(now + INDEXING_MS))
    return answer('indexing', { version = version })
  end
end
if version > 0 and before[5] then
  note_changes(config, before[5], tonumber(before[6]), events, due, pool)
end

-- From the clock, so that a pool that was deleted and made again does not repeat an old version.
local new_version = put_back > 0 and put_back or math.max(version + 1, now)
-- Tells the leases of this pool from those of earlier ones of the same name: theirs have no greater fence.
local incarnation = before[7] or int(put_back_as)
if version == 0 and put_back == 0 then
  incarnation = int(last_fence())
  -- What another version of this program may have left.
  redis.call('UNLINK', leases, expired, events, who, seats, holders, lent, idle, held, queue, blocks, named, waiting, tickets, line,
    heads, called, unpack(KEYS, key_of + 1, key_of + other_count))
end
local was = redis.call('HGETALL', config)
redis.call('DEL', config)
if #was > 0 then
  undo_by('HSET', config, unpack(was))
end
undo_by('DEL', config)
redis.call('HSET', config, 'version', int(new_version), 'policy', policy, 'capacity', int(capacity), 'ttl_ms', int(ttl),
  'linger_ms', int(linger), 'resume_window_ms', int(resume_window), 'incarnation', incarnation)
if before[2] and tonumber(before[2]) ~= ttl then
  -- From the expiry and the TTL follows the last beat; leases renewed before this need the old TTL.
  redis.call('HSET', config, 'ttl_before_ms', before[2], 'ttl_changed_ms', int(now))
elseif before[3] then
  redis.call('HSET', config, 'ttl_before_ms', before[3], 'ttl_changed_ms', before[4])
end
if before[9] then
  rules.noticed = before[9]
end
if before[11] then
  rules.details_until = before[11]
end
for name, value in pairs(rules) do
  redis.call('HSET', config, name, value)
end
if rules.rules then
  redis.call('HSET', config, 'noted', int(now))
  redis.call('ZADD', due, 'LT', int(now), pool)
end
-- An index is made again from the records when a rule needs one that was not there before, or counts otherwise.
local makes_index = not rules.indexed or not index or seat_per ~= rules.seat_per
-- A seat is idle by the rule under which that was reported. Under another one nothing is known until the next heartbeats.
local forgets_use = makes_index or (before[10] or nil) ~= rules.idle_ms
local were_idle = forgets_use and before[10] and tonumber(redis.call('HGET', seats, 'idle') or 0) or 0
if were_idle > 0 then
  undo_fields(seats, 'idle')
  redis.call('HDEL', seats, 'idle')
end
-- More seats, or less strict rules: those who are next for them are called, and nodes look at what else is new for those who wait.
if redis.call('EXISTS', queue) == 1 then
  notify(queue, '+')
  if rules.indexed and index and seat_per == rules.seat_per then
    local new_index = open_index(config, who, seats, holders, lent, idle, held)
    new_index.idle_ms = not forgets_use and new_index.idle_ms
    local waiters = open_queue({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called },
      new_index, config)
    waiters.find_heads(1000)
    waiters.call_next()
  end
end
undo_member(pools, pool)
redis.call('ZADD', pools, int(new_version), pool)
redis.call('HSET', clock, 'longest_ttl', int(math.max(longest_ttl, ttl)))
redis.call('HINCRBY', clock, 'revision', 1)
record_event(events, 'configured', '', now, '', '', int(capacity_at(capacity, rules.schedule, now)), were_idle > 0 and { nil, -were_idle } or nil)
if version == 0 then
  -- Redis gives a new stream 4 KB; a copy has what it needs. Most of thousands of pools may never have a lease.
  if redis.pcall('COPY', events, events_copy, 'REPLACE') == 1 and not redis.pcall('RENAME', events_copy, events).ok then
    redis.pcall('UNLINK', events_copy)
  end
end
local over = makes_index and { who, seats, holders } or {}
if forgets_use then
  over[#over + 1] = idle
end
if makes_index or not rules.hold_ms then
  over[#over + 1] = held
end
if #over > 0 then
  -- The last call, because nothing takes it back.
  redis.call('UNLINK', unpack(over))
end
return answer(version > 0 and 'replaced' or 'created', { version = new_version, incarnation = incarnation })
