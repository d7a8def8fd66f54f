-- Decides on a renew whose lease is not live, or whose record is gone: resumed, rebuilt after a loss of
-- data, or lost with its reason. A seat is taken again only if one is free.
--
-- Joined behind prelude, record, details, tombstone, schedule, seats, yielding, queue, rules, blocks.
--
-- Keys of a pool:
--   clock             HASH    the bucket's clock
--   due               ZSET    pool -> lower bound of its earliest expiry, ms
--   config            HASH    the pool's policy
--   leases            ZSET    lease id -> expiry, ms
--   expired           ZSET    lease id -> end, ms; not yet in a tombstone
--   events            STREAM  the pool's history
--   evaluations       ZSET    pool -> when its alerts are to be evaluated, ms
--   blocks            ZSET    entry of parts/blocks.lua -> end of the block, ms
--   records           HASH    lease id -> what is known of the lease
--   who               HASH    lease id -> kind of seat, fence, tenant and holder
--   seats             HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders           ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent              HASH    seat-milliseconds of overdraft, by day
--   idle              ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held              ZSET    lease id -> fence
--   queue             ZSET    ticket -> order of arrival
--   evicted           ZSET    lease id -> end, ms; not yet in a tombstone
--   named             ZSET    period, holder, since when and how
--   waiting           ZSET    ticket -> deadline of its next request, ms
--   tickets           HASH    ticket -> what was asked for
--   tombstone(id)     HASH    how the lease ended, if it did
--   pool_mark         HASH    what was ended at once in this pool: up to which fence, and why
--   holder_mark(...)  HASH    the same of this holder
--   tenant_mark(...)  HASH    the same of this tenant
--   block_notes       HASH    the same entry -> end and start of the block, its author and its reason
--   line              ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads             ZSET    tenant -> arrival of its first one in line
--   called            ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   notices           HASH    lease id, behind n:, q: or i: -> what an operator left for it; see leave_notice.lua
--
-- Arguments:
--   pool        pool       the pool, for the due index
--   id          lease      the lease
--   signed_in   count      generation of the bucket when the token was signed
--   started     timestamp  start of the lease
--   fence       count      of the lease
--   holder      text?      who asks; none is anonymous
--   tenant      text?      sub-account
--   label       text?      from the request
--   signed      text?      the label of the token
--   activities  change     array from the request
--   platform    text?      what the holder runs on
--   margin      ms         how long the records outlive leases that are not renewed
--   given       text?      the holder as it was given, if the pool knows it by another form
--   grace_used  ms?        for how long the holder went on after the end, by its own account
--
-- Returns:
--   renewed          it was live after all; it keeps a longer term that it was promised
--   resumed          it had expired, and has its seat again
--   rebuilt          its data was lost, and it has its seat again
--   lost_expired     lost; time ended it
--   lost_displaced   lost; its data was lost, and meanwhile somebody else was given the seat
--   lost_released    lost; the holder gave it back
--   lost_terminated  lost; an operator ended it, for `reason`, and blocked the holder until then
--   lost_evicted     lost; a policy ended it, for `reason`: idle, max_hold, handed_over, or nothing where a newer lease took its place
--   lost_deleted     lost; its pool was deleted, and if there is one of this name it is another
--   recovering       data was lost, and the pool was not put back yet
--   behind           more was due than one call does
--   unindexed        the index does not know all leases
--   no_pool          there is no such pool
--
-- With:
--   expires_at     timestamp   when it ends if it is not renewed
--   ttl            ms          of the pool
--   in_generation  count       of the bucket, for the token
--   called         text?       its label
--   doing          json?       what the holder is working on
--   reason         text?       what the holder reads
--   blocked_until  timestamp?  end of the block
--   kind           text?       of seat: c, n or o
--   ended_at       timestamp?  of a resumed lease: when it had ended, if no tombstone said so yet
--   notice         text?       what an operator left for it, once
--   end_when_idle  text?       how it is to end if it has no activities, which the caller does

redis.call('PERSIST', clock)
evaluate_after_events(evaluations)
mark()

local known = redis.call('HMGET', tombstone, 'reason', 'message', 'blocked_until', 'ended', 'label', 'activities')
if known[1] and known[1] ~= 'expired' then
  local until_ms = tonumber(known[3] or 0)
  return answer('lost_' .. known[1], { reason = known[2], blocked_until = until_ms > 0 and until_ms or nil })
end

if redis.call('ZSCORE', evicted, id) then
  local record = read_record(records, id)
  return answer('lost_evicted', { reason = record and record[WHY] })
end

local in_pool = ended_by(pool_mark, fence)
if in_pool and in_pool[4] then
  return answer('lost_deleted')
end

-- A token of an older generation shows that data was lost: newcomers wait, also if no node remembers.
if signed_in < generation and not lost then
  redis.call('HSET', clock, 'lost', '1')
  undo_by('HSET', clock, 'lost', '0')
  lost = true
end

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'resume_window_ms', 'privacy', 'rules', 'incarnation', 'linger_ms', 'outage_grace_ms',
  'noticed', 'details_until')
local capacity, ttl, window = tonumber(policy[1]), tonumber(policy[2]), tonumber(policy[3])
if not capacity then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
local incarnation = tonumber(policy[6]) or 0
if fence <= incarnation then
  -- After a loss of data the pool may have been made by hand or by a setting before a node that remembered it could put it
  -- back. A token from before the loss is then of the same pool, as far as anybody knows.
  if signed_in == generation or incarnation < generation * 1000 then
    return answer('lost_deleted')
  end
  redis.call('HSET', config, 'incarnation', '0')
  undo_by('HSET', config, 'incarnation', policy[6] or '0')
end
local period = lease_period(ttl, tonumber(policy[7]))
local index = open_index(config, who, seats, holders, lent, idle, held)
local counts_by_index = index and not index.incomplete
local keys = { queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }
local ended_at, notice, end_when_idle

local record = read_record(records, id)
local is_changed = label .. activities ~= '' and not policy[4]
if label == '' then
  -- What is recorded is newer than a token, unless nothing is.
  label = record and record[LABEL] or known[5] or signed
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
  local left = redis.call('HMGET', notices, 'n:' .. id, 'i:' .. id, 'q:' .. id)
  notice, end_when_idle = left[1], left[2]
  local next_one, others = string.match(left[3] or '', '^([^\2]+)\2?(.*)$')
  if next_one then
    undo_fields(notices, 'n:' .. id, 'q:' .. id)
    redis.call('HSET', notices, 'n:' .. id, next_one)
    if others ~= '' then
      redis.call('HSET', notices, 'q:' .. id, others)
    else
      redis.call('HDEL', notices, 'q:' .. id)
    end
    return
  end
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
    redis.call('HDEL', notices, 'n:' .. id)
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
  drop_tombstone(tombstone, ttl + margin)
  write_record(records, id, { int(fence), holder, tenant, int(started), kind ~= 'c' and kind or '', platform, label, activities, '', '', given,
    status == 'renewed' and record and record[ACTIVE] or '', packed = record and record.packed })
  keep_records(records, ttl, margin)
  if is_changed then
    note_details(config, policy[10])
  end
  if policy[9] and string.find(policy[9], id, 1, true) then
    take_notice()
  end
  return answer(status, { expires_at = expires_at, ttl = ttl, in_generation = generation, called = label, doing = activities, kind = kind,
    ended_at = ended_at, notice = notice, end_when_idle = end_when_idle })
end

if score > live_from(period) then
  return seat('renewed', index and seat_of(index, id) or 'c')
end

-- More may be due than one call ends; this lease must be among those that are.
if end_due(leases, expired, events, period, 64, on_end(index)) == 64 and index then
  return answer('behind')
end
if score > 0 and take_out(leases, id, int(score)) then
  redis.call('ZADD', expired, int(ends_at(score, period)), id)
  undo_by('ZREM', expired, id)
  record_event(events, 'ended', id, ends_at(score, period), holder, tenant, 'expired', nil, nil, put_off(score, ends_at(score, period)))
end

local at_once = in_pool or (holder ~= '' and ended_by(holder_mark, fence)) or (tenant ~= '' and ended_by(tenant_mark, fence))
if at_once then
  local until_ms = tonumber(at_once[3])
  return answer('lost_terminated', { reason = at_once[2], blocked_until = until_ms > 0 and until_ms or nil })
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

local blocked_until, block_entry = block_of(blocks, holder, tenant)
if blocked_until > now then
  return answer('lost_terminated', { reason = reason_of_block(block_notes, block_entry, blocked_until), blocked_until = blocked_until })
end

if status == 'lost_expired' then
  return answer('lost_expired')
end

-- The rules are asked as for a newcomer: a late beat takes no seat that somebody waits for.
local kind
if policy[5] then
  local rules = read_rules(config, tenant)
  if not counts_by_index then
    kind = count_live(leases, period) < rules.capacity and 'c' or nil
  elseif not is_whole(index, leases) then
    return answer('unindexed')
  else
    local waiters, code = open_queue(keys, index, config, rules), nil
    if not waiters.drop_silent(events) then
      return answer('behind')
    end
    kind, code = admit(waiters, index, config, rules, named, holder, tenant)
    if code == 'behind' then
      return answer('behind')
    end
  end
else
  kind = count_live(leases, period) < capacity and 'c' or nil
end
if not kind then
  return answer(status == 'rebuilt' and 'lost_displaced' or 'lost_expired')
end

if redis.call('ZREM', expired, id) == 1 then
  undo_by('ZADD', expired, ended, id)
  ended_at = ended
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
  if grace_used then
    silence[7], silence[8] = 'grace_used_ms', int(grace_used)
  end
end
record_event(events, status, id, now, holder, tenant, '', taken, nil, silence)
return seat(status, kind)
