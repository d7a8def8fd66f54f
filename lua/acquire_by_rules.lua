-- Gives a holder a seat in a pool that has rules; acquire.lua answers `rules` for such a pool. A file of its
-- own, because a pool without rules must not pay for making these functions with every call.
--
-- Joined behind prelude, record, schedule, seats, yielding, queue, idle, rules, blocks.
--
-- Keys of a pool:
--   clock           HASH    the bucket's clock
--   due             ZSET    pool -> lower bound of its earliest expiry, ms
--   config          HASH    the pool's policy
--   leases          ZSET    lease id -> expiry, ms
--   expired         ZSET    lease id -> end, ms; not yet in a tombstone
--   events          STREAM  the pool's history
--   evaluations     ZSET    pool -> when its alerts are to be evaluated, ms
--   denied          ZSET    holder -> start of its present run of denials, ms
--   blocks          ZSET    entry of parts/blocks.lua -> end of the block, ms
--   records         HASH    lease id -> what is known of the lease
--   who             HASH    lease id -> kind of seat, fence, tenant and holder
--   seats           HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders         ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent            HASH    seat-milliseconds of overdraft, by day
--   idle            ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held            ZSET    lease id -> fence
--   evicted         ZSET    lease id -> end, ms; not yet in a tombstone
--   named           ZSET    period, holder, since when and how
--   queue           ZSET    ticket -> order of arrival
--   waiting         ZSET    ticket -> deadline of its next request, ms
--   tickets         HASH    ticket -> what was asked for
--   denials         HASH    minute and code -> how many acquires were denied
--   block_notes     HASH    the same entry -> end and start of the block, its author and its reason
--   line            ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads           ZSET    tenant -> arrival of its first one in line
--   called          ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   tombstone(id)   HASH    how the lease with this id ended, if there was one
--   repeated(...)?  STRING  id of the lease or ticket that this idempotency key got; only with a key
--
-- Arguments:
--   name        pool       the pool, for the due index
--   id          lease      id for the new lease, and for its ticket
--   holder      text?      who asks; none is anonymous
--   tenant      text?      sub-account
--   label       text?      what operators read next to the holder
--   activities  json?      array of what the holder is working on
--   platform    text?      what the holder runs on
--   margin      ms         how long the records outlive leases that are not renewed
--   version     count      of the policy that the caller knows
--   wait        no|queue|ticket  what to do without a seat: deny, or queue; `id` is a ticket
--   name_from   timestamp  since when the holder's pseudonym is made like this; 0 for ever
--   name_until  timestamp  its end; 0 for ever
--   given       text?      the holder as it was given, if the pool knows it by another form
--   is_fixed    flag       whether the caller is for this tenant alone: a ticket of another one is not its
--   unused_for  ms?        for how long its user has done nothing, as far as it reports that
--
-- Returns:
--   granted                a new lease. Somebody who waited also gets `arrival` and `turn`, both for leave_queue.lua
--   existing               the lease that this idempotency key already has; of the lease only id and expiry are said
--   queued                 no seat yet; the caller asks again after retry_after, and by expires_at at the latest
--   waiting                this idempotency key has the ticket `id`: ask with that
--   ticket_expired         the ticket is not in the queue
--   foreign_ticket         the ticket, or the seat that it got, is of another tenant
--   pool_full              denied; every seat is in use or promised to somebody who waits
--   tenant_full            denied; detail is the rule: max, tenant_max or reserved
--   named_seats_exhausted  denied; all named seats of the period are taken
--   queue_full             denied; the queue is as long as it may be
--   holder_blocked         denied by an operator; retry_after is the rest of the block, detail the reason
--   platform_not_licensed  denied; detail lists the platforms
--   maintenance            denied; detail is the operator's message
--   recovering             data was lost, and those who had a seat come first, or the pool was not put back yet
--   changed                the caller knows another policy; it reads this one and asks again
--   behind                 more was due than one call does; ask again at once
--   unindexed              the index does not know all leases; the caller makes it and asks again
--   no_pool                there is no such pool
--
-- With:
--   id           lease?     the lease, or the ticket
--   expires_at   timestamp  when the lease ends if it is not renewed; of a ticket, when its place lapses
--   ttl          ms         of the pool; 0 only where there is no pool
--   fence        count      of the lease
--   generation   count      of the bucket, for the token
--   in_use       count      live leases of the pool
--   capacity     count      seats of the pool at this hour
--   retry_after  ms         time until the answer can be another
--   seat         text?      kind of seat: c, o or n
--   detail       text?      what a denial adds
--   named_left   count?     named seats that are left in this period, in a pool that has them
--   position     count      place in the queue; 1 is the next
--   in_tenant    count      the same among those of its tenant, for a caller who is for it alone
--   eta          ms         about how long it waits still
--   arrival      count      order of arrival of somebody who waited
--   turn         text?      since when somebody waited, and what stood in the ticket

evaluate_after_events(evaluations)
local queue_keys = { queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }

-- A ticket stands for what was asked for when it was given.
local asked, asked_for = wait == 'ticket' and redis.call('HGET', tickets, id), tenant
if asked then
  tenant, holder, platform, label, activities, given =
    string.match(asked, '^([^\1]*)\1([^\1]*)\1([^\1]*)\1([^\1]*)\1([^\1]*)\1?(.*)$')
end
if asked and is_fixed and tenant ~= asked_for then
  return answer('foreign_ticket')
end

local rules = read_rules(config, tenant)
local in_use = 0

local function answer_with(status, fields)
  fields = fields or {}
  fields.in_use = in_use
  fields.capacity = rules.capacity
  fields.ttl = rules.ttl
  fields.generation = generation
  return answer(status, fields)
end

if not rules.capacity then
  return answer_with(may_be_lost() and 'recovering' or 'no_pool', { retry_after = 1000 })
end
-- What the caller did with the holder's name follows from the policy and the period; both must be those of now.
if tonumber(rules.version) ~= version or now < name_from or (name_until > 0 and now >= name_until) then
  return answer_with('changed')
end

local ttl = rules.ttl
local period = lease_period(ttl, tonumber(rules.linger_ms))
local index = open_index(config, who, seats, holders, lent, idle, held)
-- An index that is being made for rules to come is kept in step; the rules of now do not need it.
local counts_by_index = index and not index.incomplete

local function count_seats()
  if counts_by_index then
    return tonumber(redis.call('HGET', index.seats, 'all') or 0)
  end
  return count_live(leases, period)
end

local function named_left()
  if rules.named_seats then
    local left = tonumber(rules.named_seats) - named_taken(named, (period_of(rules.periods, now)))
    return math.max(left, 0)
  end
end

-- Moves the end of a lease by a millisecond with the answer to a repeated request. leave_queue.lua takes a seat back
-- that nobody heard of, and knows it by its end; without memory to write it this is better left out than refused.
local function is_told(lease, expires_at)
  if rules.max_waiting then
    redis.pcall('ZADD', leases, 'XX', int(expires_at + 1), lease)
    undo_by('ZADD', leases, 'XX', int(expires_at), lease)
  end
end

-- The same request again, because the reply was lost on the way to the node, or a ticket that has its seat.
local own = tonumber(redis.call('ZSCORE', leases, id) or 0)
if own > live_from(period) then
  local record = read_record(records, id)
  if record and is_fixed and record[TENANT] ~= asked_for then
    return answer_with('foreign_ticket')
  end
  in_use = count_seats()
  is_told(id, own)
  return answer_with('granted', { id = id, expires_at = ends_at(own, period), fence = record and record[FENCE],
    seat = index and seat_of(index, id) or 'c', named_left = named_left() })
end

-- A copy of a request that comes late, after its lease was given back: it must not take the seat once more.
if wait ~= 'ticket' and redis.call('EXISTS', tombstone) == 1 then
  in_use = count_seats()
  return answer_with('pool_full', { retry_after = 1000 })
end

local earlier
if repeated then
  earlier = redis.call('GET', repeated)
  local score = earlier and tonumber(redis.call('ZSCORE', leases, earlier) or 0)
  if score and score > live_from(period) then
    if counts_by_index and index.idle_ms then
      -- It reports as a heartbeat does.
      mark()
      report_use(index, records, events, earlier, unused_for)
      hand_on(queue_keys, index, config)
    end
    is_told(earlier, score)
    in_use = count_seats()
    return answer_with('existing', { id = earlier, expires_at = ends_at(score, period), named_left = named_left() })
  elseif earlier and wait ~= 'ticket' and redis.call('ZSCORE', queue, earlier) then
    return answer_with('waiting', { id = earlier })
  end
end

if rules.maintenance then
  in_use = count_seats()
  -- Whoever waits keeps the place.
  undo_member(waiting, id)
  redis.call('ZADD', waiting, 'XX', int(now + tonumber(rules.maintenance_ms) + SILENT_MS - ASK_MS), id)
  undo_fields(tickets, 'broken:' .. id)
  redis.call('HDEL', tickets, 'broken:' .. id)
  return answer_with('maintenance', { detail = rules.maintenance, retry_after = tonumber(rules.maintenance_ms) })
end
if lost and now < generation + ttl then
  in_use = count_seats()
  return answer_with('recovering', { retry_after = generation + ttl - now })
end
if rules.platforms and not string.find(rules.platforms, '\1' .. platform .. '\1', 1, true) then
  return answer_with('platform_not_licensed', { detail = string.gsub(string.sub(rules.platforms, 2, -2), '\1', ', ') })
end

-- The first write. It is one that Redis refuses when memory is full, so nothing is half done.
mark()

-- The rules count more than leases, so all that is due ends before they are asked.
if end_due(leases, expired, events, period, 256, on_end(index)) == 256 then
  return answer_with('behind')
end
if counts_by_index and not is_whole(index, leases) then
  return answer_with('unindexed')
end
local waiters = counts_by_index and open_queue(queue_keys, index, config, rules)
if waiters and not waiters.drop_silent(events) then
  return answer_with('behind')
end
if rules.schedule then
  note_changes(config, rules.schedule, tonumber(rules.noted), events, due, name)
end
in_use = count_seats()

local rank = redis.call('ZRANK', queue, id)
if wait == 'ticket' and not rank then
  return answer_with('ticket_expired')
end
local arrival = rank and tonumber(redis.call('ZSCORE', queue, id))
if rank and waiters then
  -- Whoever asks is there, however late: it is called before there is an answer that there is no seat.
  undo_member(waiting, id)
  redis.call('ZADD', waiting, 'GT', int(now + SILENT_MS), id)
  waiters.is_back(id, arrival)
end

local function remember_the_request()
  if repeated then
    remember_key(repeated, id, ttl, earlier)
  end
end

-- When the first seat can come free if nobody renews or releases; with kinds and shares a lower bound.
local function first_free()
  local rest
  if counts_by_index then
    local lease = redis.call('ZRANGE', leases, 0, 0, 'WITHSCORES')
    rest = lease[2] and math.max(ends_at(tonumber(lease[2]), period) - now, 1) or ttl
    local yields_at = next_by_hold(index)
    rest = yields_at and math.min(rest, math.max(yields_at - now, 1)) or rest
  else
    rest = first_free_in(leases, ttl, period, in_use, rules.capacity)
  end
  local change = next_change(rules.schedule, now)
  return change and math.min(rest, math.max(change - now, 1)) or rest
end

-- When a newcomer may ask again: also for a seat that is free, and kept for somebody who may not come for it.
local function ask_again()
  local rest = first_free()
  local kept = in_use < rules.capacity and redis.call('ZRANGE', called, 0, 0, 'WITHSCORES')
  if kept and kept[2] then
    return math.min(rest, ASK_MS, math.max(waits_until(tonumber(kept[2]), ASK_MS + LATE_MS) - now, 1))
  end
  return rest
end

local function deny(code, detail, retry)
  if rank and waiters then
    waiters.give_up(id)
    -- A seat that was kept for it is the next one's.
    waiters.call_next()
  end
  -- Each denial is counted, but only the first of a run is an event, and there is a bound on runs: a crowd cannot
  -- fill the memory.
  add(denials, int((now - now % 60000) / 60000) .. ':' .. code, 1)
  if redis.call('ZADD', denied, 'NX', int(now), holder) == 1 then
    undo_by('ZREM', denied, holder)
    if redis.call('ZCARD', denied) > 10000 then
      redis.call('ZREM', denied, holder)
    else
      record_event(events, 'denied', '', now, holder, tenant, code)
      redis.call('ZADD', due, 'LT', int(now + 120000), name)
    end
  end
  return answer_with(code, { detail = detail, retry_after = retry or ask_again(), named_left = named_left() })
end

local blocked_until, block_entry = block_of(blocks, holder, tenant)
if blocked_until > now then
  return deny('holder_blocked', reason_of_block(block_notes, block_entry, blocked_until), blocked_until - now)
end

local kind, code, detail
if counts_by_index then
  kind, code, detail = admit(waiters, index, config, rules, named, holder, tenant, rank and id, arrival)
  if code == 'behind' then
    return answer_with('behind')
  end
elseif in_use < rules.capacity then
  kind = 'c'
else
  code = 'pool_full'
end

-- A new login of the same holder takes the seat of its oldest lease. That is a swap, so nobody is overtaken;
-- but while there are more leases than seats nothing is granted.
if not kind and rules.when_full == 'evict_oldest_of_holder' and holder ~= ''
  and (code == 'pool_full' or code == 'tenant_full') and in_use <= rules.capacity then
  local prefix = holder .. '\1c\1' .. tenant
  local oldest = redis.call('ZRANGEBYLEX', index.holders, '[' .. prefix .. '\1', '(' .. prefix .. '\2', 'LIMIT', 0, 1)[1]
  local used = tonumber(redis.call('HGET', index.seats, 't:' .. tenant) or 0)
  if oldest and (tenant == '' or used <= tonumber(rules.own_max or rules.tenant_max or math.huge)) then
    local old = string.sub(oldest, -22)
    kind = seat_of(index, old)
    take_out(leases, old, redis.call('ZSCORE', leases, old))
    redis.call('ZADD', evicted, int(now), old)
    undo_by('ZREM', evicted, old)
    redis.call('ZADD', due, 'LT', int(now), name)
    record_event(events, 'ended', old, now, holder, tenant, 'evicted', seat_freed(index, now, old))
    in_use = count_seats()
  end
end

-- Somebody gives way who is idle, or has had a seat for too long. What a tenant has at most, and what is kept for it, it only takes from
-- itself.
if not kind and waiters and (code == 'pool_full' or code == 'tenant_full') then
  local which = detail == 'yield' and 'any' or (code == 'tenant_full' and detail ~= 'reserved') and 'own' or 'kept'
  local seat = waiters.find_yielding(tenant, which, arrival)
  if seat then
    take_seat({ leases = leases, evicted = evicted, records = records, events = events, due = due, name = name }, index, seat)
    kind = seat.kind
    in_use = count_seats()
  end
  detail = detail ~= 'yield' and detail or nil
end

local may_queue = code == 'pool_full' or (code == 'tenant_full' and detail == 'reserved')
if not kind and may_queue and wait ~= 'no' and rules.max_waiting then
  local ahead = rank or redis.call('ZCARD', queue)
  local retry = waiters.ask_after(leases, period, ahead, in_use)
  local kept_ms = math.max(retry, ASK_MS) + LATE_MS + KEPT_MS
  if not rank then
    if ahead >= tonumber(rules.max_waiting) then
      return deny('queue_full')
    end
    due_by_hold(index, due, name)
    waiters.take_place(id, seq, now, table.concat({ tenant, holder, platform, label, activities, given ~= '' and given or nil }, '\1'), kept_ms)
    record_event(events, 'queued', id, now, holder, tenant, '')
    remember_the_request()
  else
    undo_member(waiting, id)
    redis.call('ZADD', waiting, int(now + kept_ms), id)
  end
  local in_tenant = is_fixed and waiters.ahead_in_tenant(tenant, arrival or seq) + 1 or 0
  return answer_with('queued', { id = id, position = ahead + 1, in_tenant = in_tenant, expires_at = now + kept_ms, retry_after = retry,
    eta = waits_for(index, ttl, rules.capacity, ahead + 1) })
end
if not kind then
  return deny(code, detail)
end

local expires_at = now + ttl
local fence = math.max(newest_fence + 1, now * 1000 + time[2] % 1000)
-- This undoes what follows. Whoever may not run it finds out while there is nothing to undo.
redis.call('ZREM', leases, id)
redis.call('ZADD', leases, int(expires_at), id)
undo_by('ZREM', leases, id)
redis.call('HSET', clock, 'fence', int(fence))
local taken
if index then
  taken = seat_taken(index, now, id, kind, int(fence), tenant, holder)
end
in_use = counts_by_index and count_seats() or in_use + 1

if rules.privacy == 'anonymous' then
  platform = ''
end
-- Whoever works on something is active.
local active_at = index and index.idle_ms and (activities ~= '' and now or unused_for and now - unused_for) or nil
write_record(records, id, { int(fence), holder, tenant, int(now), kind ~= 'c' and kind or '', platform, label, activities, '', '', given,
  active_at and int(active_at) })
keep_records(records, ttl, margin)
redis.call('ZADD', due, 'LT', int(expires_at), name)
remember_the_request()
local turn, waited
if rank and waiters then
  local since = redis.call('HGET', tickets, 'since:' .. id) or int(now)
  turn = since .. '\1' .. redis.call('HGET', tickets, id)
  waited = now - since
  waiters.count_wait(waited)
  local _, _, was_called = waiters.give_up(id)
  -- It shares a seat, or has one of its own: the one that was kept for it is the next one's.
  if was_called then
    waiters.call_next()
  end
end
record_event(events, 'started', id, now, holder, tenant, '', taken, waited)
if active_at and index.idle_ms <= now - active_at and kind ~= 'n' then
  note_use(index, events, id, tenant, holder, active_at, true)
end

local reply = answer_with('granted', { id = id, expires_at = expires_at, fence = fence, seat = kind, named_left = named_left(),
  arrival = arrival, turn = turn })
-- The last call, because nothing takes it back.
redis.call('ZREM', denied, holder)
return reply
