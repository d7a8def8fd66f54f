-- Joined behind record.lua and seats.lua: what is reported of the use of a seat, and how a policy ends a lease for it.

-- Ends a lease by a policy, for `reason`: it never comes back. `pool` has the keys leases, evicted, records, events, due and the name.
local function evict(pool, index, id, holder, tenant, reason)
  take_out(pool.leases, id, redis.call('ZSCORE', pool.leases, id) or int(now))
  redis.call('ZADD', pool.evicted, int(now), id)
  undo_by('ZREM', pool.evicted, id)
  local record = read_record(pool.records, id)
  if record then
    record[WHY] = reason
    write_record(pool.records, id, record)
  end
  redis.call('ZADD', pool.due, 'LT', int(now), pool.name)
  record_event(pool.events, 'ended', id, now, holder, tenant, reason, seat_freed(index, now, id))
end

-- Takes a seat from its holder, with all leases that share it.
local function take_seat(pool, index, seat)
  local ids = { seat.id }
  if index.per_holder and seat.holder ~= '' then
    ids = redis.call('ZRANGEBYLEX', index.holders, '[' .. seat.holder .. '\1c\1', '(' .. seat.holder .. '\1c\2')
  end
  for i = 1, #ids do
    local id = string.sub(ids[i], -22)
    local _, _, tenant, holder = seat_of(index, id)
    evict(pool, index, id, holder, tenant, seat.reason)
  end
end

-- Notes that a lease is idle, since its user was last active `at`, or that it is not. An event tells when that is new.
local function note_use(index, events, id, tenant, holder, at, is_idle)
  local since = redis.call('ZSCORE', index.idle, id)
  local shares = index.per_holder and holder ~= ''
  local seat_was_idle = since and (not shares or shared_seat_is_idle(index, holder)) or false
  if is_idle then
    redis.call('ZADD', index.idle, int(at), id)
  elseif since then
    redis.call('ZREM', index.idle, id)
  end
  if since then
    undo_by('ZADD', index.idle, since, id)
  else
    undo_by('ZREM', index.idle, id)
  end
  if is_idle ~= (since and true or false) then
    local seat_is_idle = is_idle and (not shares or shared_seat_is_idle(index, holder))
    local told = count_idle(index, nil, seat_was_idle, seat_is_idle)
    record_event(events, is_idle and 'idle' or 'active', id, now, index.people and holder or '', tenant, '', told)
    -- Somebody who waits can have it.
    index.freed = index.freed or (is_idle and index.idle_then == 'yield')
  end
end

-- Takes in what is reported of the use of a lease: for how long its user has done nothing, nil where that is not known. Returns kind of seat,
-- tenant and holder, when the user was last active, for how long that is, and whether the lease is idle; nothing for one that is not known.
local function report_use(index, records, events, id, unused_for)
  local kind, _, tenant, holder = seat_of(index, id)
  local record = kind and read_record(records, id)
  if not record then
    return nil
  end
  local at = unused_for and now - unused_for
  if record[ACTIVITIES] ~= '' and record[ACTIVITIES] ~= '[]' then
    -- Whoever works on something is active.
    unused_for, at = 0, now
  end
  record[ACTIVE] = at and int(at) or ''
  write_record(records, id, record)
  local is_idle = unused_for ~= nil and unused_for >= index.idle_ms and kind ~= 'n'
  note_use(index, events, id, tenant, holder, at, is_idle)
  return kind, tenant, holder, at, unused_for, is_idle
end
