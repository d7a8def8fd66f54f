-- Decides on a renew whose lease is not live, or whose record is gone: resumed, rebuilt after a loss of
-- data, or lost with its reason. A seat is taken again only if one is free.
--
-- KEYS[1]   clock      HASH    the bucket's clock
-- KEYS[2]   due        ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]   config     HASH    the pool's policy
-- KEYS[4]   leases     ZSET    lease id -> expiry, ms
-- KEYS[5]   expired    ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[6]   events     STREAM  the pool's history
-- KEYS[7]   blocks     ZSET    holder -> until when it may not acquire, ms
-- KEYS[8]   records    HASH    lease id -> what is known of the lease
-- KEYS[9]   who        HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[10]  seats      HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[11]  holders    ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[12]  lent       HASH    seat-milliseconds of overdraft, by day
-- KEYS[13]  queue      ZSET    ticket -> order of arrival
-- KEYS[14]  evicted    ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[15]  named      ZSET    period, holder, since when and how
-- KEYS[16]  waiting    ZSET    ticket -> until when it has to ask again, ms
-- KEYS[17]  tickets    HASH    ticket -> what was asked for
-- KEYS[18]  tombstone  HASH    how the lease ended, if it did
-- KEYS[19]  mark       HASH    what was ended at once in this pool: up to which fence, and why
-- KEYS[20]  mark       HASH    the same of this holder
-- KEYS[21]  mark       HASH    the same of this tenant
-- KEYS[22]  notes      HASH    holder -> until when it is blocked, since when, by whom and why
-- KEYS[23]  line       ZSET    those who are to be called, and those who are called, by tenant and arrival
-- KEYS[24]  heads      ZSET    tenant -> arrival of its first one in line
-- KEYS[25]  called     ZSET    tenant, arrival and ticket -> until when a seat is kept for it, ms
-- KEYS[26]  notices    HASH    lease id, behind n: or i: -> what an operator left for it; see leave_notice.lua
--
-- ARGV[1]   pool        name of the pool, for the due index
-- ARGV[2]   id          id of the lease
-- ARGV[3]   generation  of the bucket when the token was signed
-- ARGV[4]   started_ms  begin of the lease
-- ARGV[5]   fence       of the lease
-- ARGV[6]   holder      who asks; empty for anonymous
-- ARGV[7]   tenant      sub-account; empty for none
-- ARGV[8]   label       from the request or the token; empty for none
-- ARGV[9]   activities  JSON array from the request, behind '='; empty to keep what is known
-- ARGV[10]  platform    empty for none
-- ARGV[11]  margin_ms   how long the records outlive leases that are not renewed
-- ARGV[12]  given       the holder as it was given, if the pool knows it by another form; else empty
-- ARGV[13]  grace_used  for how long the holder says that it went on after the end, ms; empty if it does not
--
-- Returns { status, seq, now_ms, expires_at_ms, ttl_ms, generation, activities, reason, blocked_until_ms, seat, ended_ms,
--           notice, end_when_idle }
--   renewed          it was live after all; it keeps a longer term that it was promised
--                    notice is what an operator left for it, once; end_when_idle how it is to end if it has no activities, which the caller does
--   resumed          it had expired, and has its seat again; ended_ms is when, if no tombstone said so yet, else 0
--   rebuilt          its data was lost, and it has its seat again
--   lost_expired     lost; time ended it
--   lost_displaced   lost; its data was lost, and meanwhile somebody else was given the seat
--   lost_released    lost; the holder gave it back
--   lost_terminated  lost; an operator ended it, for `reason`, and blocked the holder until then (0 for not at all)
--   lost_evicted     lost; a policy ended it
--   lost_deleted     lost; its pool was deleted, and if there is one of this name it is another
--   recovering       data was lost, and the pool was not put back yet
--   behind           more was due than one call ends; ask again at once
--   unindexed        the index does not know all leases; the caller makes it and asks again
--   no_pool          there is no such pool
--   unopened         the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local due, config, leases, expired = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local events, blocks, records, tombstone = KEYS[6], KEYS[7], KEYS[8], KEYS[18]
local pool, id, signed_in = ARGV[1], ARGV[2], tonumber(ARGV[3])
local started, fence, holder, tenant = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local label, activities, platform, margin_ms, given = ARGV[8], ARGV[9], ARGV[10], tonumber(ARGV[11]), ARGV[12]

mark()

local unheard, notice, end_when_idle = 0, '', ''

local function answer(status, expires_at, ttl, known_activities, reason, blocked_until, kind)
  return { status, int(seq), int(now), int(expires_at), int(ttl), int(generation), known_activities, reason,
    int(blocked_until), kind or 'c', int(unheard), notice, end_when_idle }
end

local known = redis.call('HMGET', tombstone, 'reason', 'message', 'blocked_until', 'ended', 'label', 'activities')
if known[1] and known[1] ~= 'expired' then
  return answer('lost_' .. known[1], 0, 0, '', known[2] or '', tonumber(known[3] or 0))
end

if redis.call('ZSCORE', KEYS[14], id) then
  return answer('lost_evicted', 0, 0, '', '', 0)
end

-- What was ended at once: the lease is one of those if its fence is not above the mark's. Nil if it is none.
local function ended_by(mark_key)
  local found = redis.call('HMGET', mark_key, 'fence', 'reason', 'blocked_until', 'deleted')
  return found[1] and fence <= tonumber(found[1]) and found or nil
end

local in_pool = ended_by(KEYS[19])
if in_pool and in_pool[4] then
  return answer('lost_deleted', 0, 0, '', '', 0)
end

-- A token of an older generation shows that data was lost: newcomers wait, also if no node remembers.
if signed_in < generation and not lost then
  redis.call('HSET', clock, 'lost', '1')
  undo_by('HSET', clock, 'lost', '0')
  lost = true
end

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'resume_window_ms', 'privacy', 'rules', 'incarnation', 'linger_ms', 'outage_grace_ms',
  'noticed')
local capacity, ttl, window = tonumber(policy[1]), tonumber(policy[2]), tonumber(policy[3])
if not capacity then
  return answer(may_be_lost() and 'recovering' or 'no_pool', 0, 0, '', '', 0)
end
local incarnation = tonumber(policy[6]) or 0
if fence <= incarnation then
  -- After a loss of data the pool may have been made by hand or by a setting before a node that remembered it could put it
  -- back. A token from before the loss is then of the same pool, as far as anybody knows.
  if signed_in == generation or incarnation < generation * 1000 then
    return answer('lost_deleted', 0, 0, '', '', 0)
  end
  redis.call('HSET', config, 'incarnation', '0')
  undo_by('HSET', config, 'incarnation', policy[6] or '0')
end
local period = lease_period(ttl, tonumber(policy[7]))
local index = open_index(config, KEYS[9], KEYS[10], KEYS[11], KEYS[12])
local counts_by_index = index and not index.incomplete
local keys = { queue = KEYS[13], waiting = KEYS[16], tickets = KEYS[17], line = KEYS[23], heads = KEYS[24], called = KEYS[25] }

local record = read_record(records, id)
if label == '' then
  label = record and record[LABEL] or known[5] or ''
end
if activities ~= '' then
  activities = string.sub(activities, 2)
else
  activities = record and record[ACTIVITIES] or known[6] or ''
end
if policy[4] then
  label, activities = '', ''
end
if policy[4] == 'anonymous' then
  platform = ''
end

-- Takes what an operator left for this lease.
local function take_notice()
  local left = redis.call('HMGET', KEYS[26], 'n:' .. id, 'i:' .. id)
  notice, end_when_idle = left[1] or '', left[2] or ''
  if not left[2] then
    local ids = {}
    for other in string.gmatch(policy[9], '%S+') do
      ids[#ids + 1] = other ~= id and other or nil
    end
    undo_by('HSET', config, 'noticed', policy[9])
    if #ids > 0 then
      redis.call('HSET', config, 'noticed', table.concat(ids, ' '))
    else
      redis.call('HDEL', config, 'noticed')
    end
  end
  if left[1] then
    -- The last call, because nothing takes it back: the TTL would be gone with the last field.
    redis.call('HDEL', KEYS[26], 'n:' .. id)
  end
end

local score = tonumber(redis.call('ZSCORE', leases, id) or 0)

local function seat(status, kind)
  local expires_at = now + ttl
  if status == 'renewed' then
    expires_at = math.max(expires_at, score)
  end
  redis.call('ZADD', leases, int(expires_at), id)
  if status == 'renewed' then
    undo_by('ZADD', leases, int(score), id)
  else
    undo_by('ZREM', leases, id)
  end
  redis.call('ZADD', due, 'LT', int(expires_at), pool)
  drop_tombstone(tombstone, ttl + margin_ms)
  write_record(records, id, { int(fence), holder, tenant, started, kind ~= 'c' and kind or '', platform, label, activities, '', '', given,
    packed = record and record.packed })
  keep_records(records, ttl, margin_ms)
  if policy[9] and string.find(policy[9], id, 1, true) then
    take_notice()
  end
  return answer(status, expires_at, ttl, activities, '', 0, kind)
end

if score > live_from(period) then
  return seat('renewed', index and seat_of(index, id) or 'c')
end

-- More may be due than one call ends; this lease must be among those that are.
if end_due(leases, expired, events, period, 64, on_end(index)) == 64 and index then
  return answer('behind', 0, ttl, '', '', 0)
end
if score > 0 and redis.call('ZREM', leases, id) == 1 then
  undo_by('ZADD', leases, int(score), id)
  redis.call('ZADD', expired, int(ends_at(score, period)), id)
  undo_by('ZREM', expired, id)
  record_event(events, 'ended', id, ends_at(score, period), holder, tenant, 'expired', nil, nil, put_off(score, ends_at(score, period)))
end

local at_once = in_pool or (holder ~= '' and ended_by(KEYS[20])) or (tenant ~= '' and ended_by(KEYS[21]))
if at_once then
  return answer('lost_terminated', 0, ttl, '', at_once[2], tonumber(at_once[3]))
end

local ended = tonumber(redis.call('ZSCORE', expired, id) or known[4])
local status
-- What a restored backup says of an end is older than the token of who still beats.
if ended and not (signed_in < generation and ended < generation) then
  status = now <= ends_at(ended + window, window) and 'resumed' or 'lost_expired'
elseif signed_in < generation then
  -- Everything was lost. Tombstones too, so a seat comes back only as long as one could be resumed.
  status = now <= generation + math.max(ttl, window) and 'rebuilt' or 'lost_expired'
else
  -- Tombstones live longer than tokens: what has none was lost with the last writes before a failover.
  status = 'rebuilt'
end

local blocked_until = holder ~= '' and tonumber(redis.call('ZSCORE', blocks, holder) or 0) or 0
if blocked_until > now then
  return answer('lost_terminated', 0, ttl, '', reason_of_block(KEYS[22], holder, blocked_until), blocked_until)
end

if status == 'lost_expired' then
  return answer('lost_expired', 0, ttl, '', '', 0)
end

-- The rules are asked as for a newcomer: a late beat takes no seat that somebody waits for.
local kind
if policy[5] then
  local rules = read_rules(config, tenant)
  if not counts_by_index then
    kind = count_live(leases, period) < rules.capacity and 'c' or nil
  elseif not is_whole(index, leases) then
    return answer('unindexed', 0, ttl, '', '', 0)
  else
    local queue = open_queue(keys, index, config, rules)
    if queue.drop_silent(events) then
      kind = admit(queue, index, config, rules, KEYS[15], holder, tenant)
    end
  end
else
  kind = count_live(leases, period) < capacity and 'c' or nil
end
if not kind then
  return answer(status == 'rebuilt' and 'lost_displaced' or 'lost_expired', 0, ttl, '', '', 0)
end

if redis.call('ZREM', expired, id) == 1 then
  undo_by('ZADD', expired, ended, id)
  unheard = ended
end
if fence > newest_fence then
  redis.call('HSET', clock, 'fence', int(fence))
end
local taken = index and seat_taken(index, now, id, kind, int(fence), tenant, holder) or nil

-- Whose silence it was, and for how long two may have believed in the seat.
local silence
if status == 'resumed' then
  local heard, away = ended - ttl, back >= ended - ttl and gap > ttl / 4
  if away then
    -- The end was put off by that outage, so that the last beat was before it.
    heard = math.min(heard, floor)
  end
  local overlap = now - ended
  if policy[8] ~= 'none' then
    overlap = math.min(overlap, tonumber(policy[8] or window))
  end
  silence = { 'gap_ms', int(now - heard), 'cause', away and 'coordinator_away' or 'holder_away', 'possible_overlap_ms', int(overlap) }
  if ARGV[13] ~= '' then
    silence[7], silence[8] = 'grace_used_ms', ARGV[13]
  end
end
record_event(events, status, id, now, holder, tenant, '', taken, nil, silence)
return seat(status, kind)
