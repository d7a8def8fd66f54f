-- Gives holders a seat each, many in one call, unless the pool is full. Seats that were given back at the same time are freed
-- first. Pools with rules beyond that: acquire_by_rules.lua and release.lua.
--
-- They are decided in their order, as if each had come alone, and no answer depends on what becomes of a later one. As a rule
-- nothing is known of any of them: then each step is one command for all, and an acquire among 64 costs Redis a fifth of one
-- that comes alone. Where something is known of one, such as a lease that its idempotency key got, they are decided one by one.
--
-- Joined behind prelude, record, blocks.
--
-- Keys of a pool:
--   clock        HASH    the bucket's clock
--   due          ZSET    pool -> lower bound of its earliest expiry, ms
--   config       HASH    the pool's policy
--   leases       ZSET    lease id -> expiry, ms
--   expired      ZSET    lease id -> end, ms; not yet in a tombstone
--   events       STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   denied       ZSET    holder -> start of its present run of denials, ms
--   blocks       ZSET    entry of parts/blocks.lua -> end of the block, ms
--   records      HASH    lease id -> what is known of the lease
--   denials      HASH    minute and code -> how many acquires were denied
--   block_notes  HASH    the same entry -> end and start of the block, its author and its reason
--   each lease:
--     tombstone(id)  HASH  how the lease with this id ended, if there was one
--   each repeat:  an acquire with an idempotency key
--     repeated(...)  STRING  id of the lease that the key got
--
-- Arguments:
--   name         pool   the pool, for the due index
--   margin       ms     how long the records outlive leases that are not renewed
--   keep         ms     how long a tombstone stays: as long as a token of the lease could be shown
--   incarnation  count  of the pool that is asked, as the node knows it; 0 if it does not
--   releases     count  how many of the leases give their seat back. They come first
--   each lease:  at most 64
--     id       lease  the lease, or the id for a new one
--     holder   text?  whose it is; none is anonymous
--     tenant   text?  sub-account
--     details  text?  of a new one: platform, label and activities, as in a record
--   each repeat:
--     place  count  number of the lease, from 1
--
-- Returns:
--   done        all are decided, but for releases that are left to release.lua
--   changed     there is another pool of this name by now. A copy of a request that comes late gets no seat in it
--   rules       the pool has rules, or an index for rules to come is being made. Other scripts decide
--   recovering  data was lost, and the pool was not put back yet
--   no_pool     there is no such pool
--
-- With:
--   ttl           ms         of the pool; 0 only where there is no pool
--   renewed_with  ms         the TTL before the last change of it
--   changed       timestamp  when that was
--   generation    count      of the bucket, for the token
--   capacity      count      seats of the pool
--   numbered      flag       each lease has a number in the order of the bucket, the last one that of the call. If not, nothing has
--                            changed
--   freed         text       a character for each release: 1 freed, 0 left to release.lua
--   granted       count      so many of the acquires got a seat, the first ones; the others were denied because the pool is full
--   in_use        count      live leases before the first grant
--   fence         count      of the first grant; the next one has the next
--   retry_after   ms         of those who were denied: time until the first seat can come free
--   each answer:  to each acquire, where they were decided one by one. Then granted, in_use and fence are zero
--     word         granted|existing|pool_full|holder_blocked|recovering  what became of it
--     lease        lease?     the lease
--     score        number     of the lease that an idempotency key already has, ms
--     expires_at   timestamp  when the lease ends if it is not renewed
--     own_fence    count      of the lease
--     seats        count      live leases behind this
--     wait         ms         time until the answer can be another
--     detail       text?      of an existing lease its record, packed; of a block the reason

evaluate_after_events(evaluations)
local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'rules', 'indexing', 'linger_ms', 'ttl_before_ms', 'ttl_changed_ms',
  'incarnation')
local capacity, ttl = tonumber(policy[1]), tonumber(policy[2])
if not capacity then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
-- One that is not known any more after a loss of data is taken for the same.
local present = tonumber(policy[8]) or 0
if incarnation > 0 and present > 0 and incarnation ~= present then
  return answer('changed')
end
if policy[3] or (policy[4] and now <= tonumber(policy[4])) then
  return answer('rules')
end

local period, acquires = lease_period(ttl, tonumber(policy[5])), lease_count - releases
local from, numbered = live_from(period), false

-- The first write. Redis refuses it when memory is full, so nothing is half done; a release alone has one that needs none.
local function begin()
  if not numbered then
    numbered = true
    if acquires == 0 then
      redis.call('PERSIST', clock)
    end
    seq = seq + lease_count - 1
    mark()
  end
end

-- What is known of the leases: whether they live, and whether some have ended.
local scores = redis.call('ZMSCORE', leases, unpack(ARGV, id_of + 1, id_of + lease_count))
local some_ended = redis.call('EXISTS', unpack(KEYS, tombstone_of + 1, tombstone_of + lease_count)) > 0

local function has_ended(i)
  return some_ended and redis.call('EXISTS', KEYS[tombstone_of + i]) == 1
end

-- Frees the seats that were given back, if that is simple. Returns their ids and a character for each release.
local function free_seats()
  local ids, back, places, marks, twice = {}, { 'ZADD', leases }, {}, {}, {}
  for i = 1, releases do
    local id = ARGV[id_of + i]
    local live = scores[i] and tonumber(scores[i]) > from and not twice[id] and not has_ended(i)
    marks[i], twice[id] = live and '1' or '0', true
    if live then
      ids[#ids + 1], places[#places + 1] = id, i
      back[#back + 1], back[#back + 2] = scores[i], id
    end
  end
  if #ids > 0 then
    begin()
    -- As take_out in prelude.lua.
    redis.call('ZADD', leases, 'XX', back[3], back[4])
    redis.call('ZREM', leases, unpack(ids))
    undo_by(unpack(back))
    for _, i in ipairs(places) do
      local tombstone = KEYS[tombstone_of + i]
      record_event(events, 'ended', ARGV[id_of + i], now, ARGV[holder_of + i], ARGV[tenant_of + i], 'released')
      redis.call('HSET', tombstone, 'reason', 'released', 'ended', int(now))
      undo_by('DEL', tombstone)
      redis.call('PEXPIRE', tombstone, keep)
    end
  end
  return ids, table.concat(marks)
end

local freed, marks = free_seats()

-- Which acquires have an idempotency key, and whether anything is known of one of them.
local repeated_by, known, blocked_until, block_entries = {}, lost and now < generation + ttl, {}, {}
for i = releases + 1, lease_count do
  known = known or scores[i] or has_ended(i)
end
if repeat_count > 0 then
  local earlier, again = {}, {}
  for i = 1, repeat_count do
    local key = KEYS[repeated_of + i]
    earlier[i] = redis.call('GET', key)
    known = known or earlier[i] or again[key]
    repeated_by[tonumber(ARGV[place_of + i])], again[key] = key, true
  end
end
if acquires > 0 and redis.call('EXISTS', blocks) == 1 then
  for i = 1, acquires do
    block_entries[i] = ARGV[holder_of + releases + i] .. '\1' .. ARGV[tenant_of + releases + i]
  end
  local for_own = redis.call('ZMSCORE', blocks, unpack(block_entries))
  blocked_until = redis.call('ZMSCORE', blocks, unpack(ARGV, holder_of + releases + 1, holder_of + lease_count))
  for i = 1, acquires do
    if tonumber(for_own[i] or 0) > tonumber(blocked_until[i] or 0) then
      blocked_until[i] = for_own[i]
    else
      block_entries[i] = ARGV[holder_of + releases + i]
    end
    known = known or (blocked_until[i] and tonumber(blocked_until[i]) > now)
  end
end

-- Ends what is due, and counts who lives.
local function count_seats()
  if end_due(leases, expired, events, period, 64) < 64 then
    return redis.call('ZCARD', leases)
  end
  return count_live(leases, period)
end

-- The runs of denials of these are over, because they got a seat.
local function end_runs(first, last)
  if redis.call('EXISTS', denied) == 0 then
    return
  end
  local since, served, back = redis.call('ZMSCORE', denied, unpack(ARGV, holder_of + first, holder_of + last)), {}, { 'ZADD', denied }
  for i = 1, last - first + 1 do
    if since[i] then
      served[#served + 1] = ARGV[holder_of + first + i - 1]
      back[#back + 1], back[#back + 2] = since[i], served[#served]
    end
  end
  if #served > 0 then
    redis.call('ZREM', denied, unpack(served))
    undo_by(unpack(back))
  end
end

-- Each denial is counted, but only the first of a run is an event, and there is a bound on runs: a crowd cannot fill the memory.
local function deny(first, last, code)
  local runs, begun = redis.call('ZCARD', denied), {}
  local since = redis.call('ZMSCORE', denied, unpack(ARGV, holder_of + first, holder_of + last))
  for i = first, last do
    local holder = ARGV[holder_of + i]
    if not since[i - first + 1] and not begun[holder] and runs < 10000 then
      runs, begun[holder] = runs + 1, true
      redis.call('ZADD', denied, int(now), holder)
      undo_by('ZREM', denied, holder)
      record_event(events, 'denied', '', now, holder, ARGV[tenant_of + i], code)
    end
  end
  if next(begun) then
    redis.call('ZADD', due, 'LT', int(now + 120000), name)
  end
  add(denials, int((now - now % 60000) / 60000) .. ':' .. code, last - first + 1)
end

-- Gives seats to these. Returns the first fence.
local function grant(first, last)
  local fence, expires_at, count = math.max(newest_fence + 1, now * 1000 + time[2] % 1000), int(now + ttl), last - first + 1
  newest_fence = fence + count - 1
  local members, packed = {}, {}
  for i = first, last do
    local id, own_fence, at = ARGV[id_of + i], int(fence + i - first), 2 * (i - first) + 1
    members[at], members[at + 1] = expires_at, id
    packed[at], packed[at + 1] = id, packed_record({ own_fence, ARGV[holder_of + i], ARGV[tenant_of + i],
      begin_of(own_fence) == int(now) and '' or int(now), '', ARGV[details_of + i] })
  end
  -- This undoes what follows. Whoever may not run it finds out while there is nothing to undo by it.
  redis.call('ZREM', leases, unpack(ARGV, id_of + first, id_of + last))
  redis.call('ZADD', leases, unpack(members))
  undo_by('ZREM', leases, unpack(ARGV, id_of + first, id_of + last))
  redis.call('HSET', clock, 'fence', int(newest_fence))
  redis.call('HSET', records, unpack(packed))
  undo_by('HDEL', records, unpack(ARGV, id_of + first, id_of + last))
  keep_records(records, ttl, margin)
  redis.call('ZADD', due, 'LT', expires_at, name)
  for i = first, last do
    local id, repeated = ARGV[id_of + i], repeated_by[i]
    if repeated then
      remember_key(repeated, id, ttl, known and redis.call('GET', repeated))
    end
    record_event(events, 'started', id, now, ARGV[holder_of + i], ARGV[tenant_of + i], '')
  end
  end_runs(first, last)
  return fence
end

-- Decides about one alone.
local in_use

local function decide(i)
  local id, holder, tombstone, repeated = ARGV[id_of + i], ARGV[holder_of + i], KEYS[tombstone_of + i], repeated_by[i]

  -- The same request again, because the reply was lost on the way to the node.
  local own = tonumber(scores[i] or 0)
  if own > from then
    local record = read_record(records, id)
    return 'granted', { lease = id, expires_at = ends_at(own, period), own_fence = record and record[FENCE] }
  end

  -- A copy of a request that comes late, after its lease was given back: it must not take the seat once more.
  if has_ended(i) then
    return 'pool_full', { wait = 1000 }
  end

  local earlier = repeated and redis.call('GET', repeated)
  local score = earlier and tonumber(redis.call('ZSCORE', leases, earlier) or 0)
  if score and score > from then
    return 'existing', { lease = earlier, expires_at = ends_at(score, period), score = score,
      detail = redis.call('HGET', records, earlier) }
  end

  if lost and now < generation + ttl then
    return 'recovering', { wait = generation + ttl - now }
  end

  begin()
  if not in_use then
    in_use = count_seats()
  end
  local blocked = tonumber(blocked_until[i - releases] or 0)
  if blocked > now then
    deny(i, i, 'holder_blocked')
    return 'holder_blocked', { wait = blocked - now, detail = reason_of_block(block_notes, block_entries[i - releases], blocked) }
  end
  if in_use >= capacity then
    deny(i, i, 'pool_full')
    return 'pool_full', { wait = first_free_in(leases, ttl, period, in_use, capacity) }
  end
  local fence = grant(i, i)
  in_use = in_use + 1
  return 'granted', { lease = id, expires_at = now + ttl, own_fence = int(fence) }
end

local granted, fence, before, retry_after = 0, nil, nil, nil
if acquires > 0 and known then
  for i = releases + 1, lease_count do
    local word, about = decide(i)
    local seats = in_use or count_live(leases, period)
    add_answer(word, about.lease or '', about.score or 0, about.expires_at or 0, about.own_fence or 0, seats, about.wait or 0,
      about.detail or '')
  end
elseif acquires > 0 then
  begin()
  before = count_seats()
  granted = math.max(math.min(capacity - before, acquires), 0)
  if granted > 0 then
    fence = grant(releases + 1, releases + granted)
  end
  if granted < acquires then
    deny(releases + granted + 1, lease_count, 'pool_full')
    retry_after = first_free_in(leases, ttl, period, before + granted, capacity)
  end
end
if #freed > 0 then
  -- The last call, because nothing takes it back.
  redis.call('HDEL', records, unpack(freed))
end
return answer('done', { ttl = ttl, renewed_with = policy[6], changed = policy[7], generation = generation, capacity = capacity,
  numbered = numbered, freed = marks, granted = granted, in_use = before, fence = fence and int(fence), retry_after = retry_after })
