-- Joined behind seats.lua: who gives way to somebody who needs a seat, in pools whose policy has `idle` or `max_hold` and takes seats from
-- some for others. How idle a seat is follows from the last report of it, and never from the time that has passed since.

-- Maximum of leases that are looked at to find one that gives way, about half a millisecond; a few at first, because mostly the first one
-- does.
local FIRST, SOME, LOOKED_AT = 4, 64, 512

-- The first instant, in the order of `held`, at which a lease has not been held for too long yet. After a silence, or a loss of data, nobody is
-- who could not be warned.
local function held_from(index)
  local from = now < generation + index.hold_notice_ms and 0 or (live_from(index.hold_notice_ms) - index.hold_ms + 1) * 1000
  return int(from)
end

-- When the next lease will have been held for too long, and gives way; nil if none will.
local function next_by_hold(index)
  local first = index.hold_ms and index.hold_then == 'yield'
    and redis.call('ZRANGE', index.held, held_from(index), '+inf', 'BYSCORE', 'LIMIT', 0, 1, 'WITHSCORES')
  if first and first[2] then
    return math.max(ends_at(math.floor(tonumber(first[2]) / 1000) + index.hold_ms, index.hold_notice_ms), generation + index.hold_notice_ms)
  end
end

-- Whether a policy takes seats from some for others.
local function takes_seats(index)
  return (index.idle_ms and index.idle_then == 'yield') or (index.hold_ms and index.hold_then == 'yield')
end

-- The seats that give way to somebody who needs one: those that are idle, longest first, then those that are held for too long, longest
-- first; among equals the lower fence. At most `limit`, and only those that `may_go` lets go. Each has the lease that tells how long it
-- has been so, kind, fence, tenant and holder, and the reason.
local function seats_that_yield(index, limit, may_go)
  local seats, listed = {}, {}

  -- A node of an earlier version ended it, which knows nothing of these sets. It must not stand in front of others for ever.
  local function forget_ended(id)
    undo_member(index.held, id)
    redis.call('ZREM', index.held, id)
    undo_member(index.idle, id)
    if redis.call('ZREM', index.idle, id) == 1 and not index.per_holder then
      count(index.seats, 'idle', -1)
    end
  end

  local function look_at(entries, reason)
    local ids, leases = {}, {}
    for i = 1, #entries, 2 do
      ids[#ids + 1] = entries[i]
    end
    if #ids == 0 then
      return
    end
    local packed = redis.call('HMGET', index.who, unpack(ids))
    for i = 1, #ids do
      if not packed[i] then
        forget_ended(ids[i])
      end
      local kind, fence, tenant, holder = string.match(packed[i] or '', '^(.)\1(%d*)\1([^\1]*)\1(.*)$')
      -- A named seat is its holder's for the whole period.
      if kind and kind ~= 'n' then
        leases[#leases + 1] = { id = ids[i], since = tonumber(entries[2 * i]), kind = kind, fence = fence, tenant = tenant, holder = holder,
          reason = reason }
      end
    end
    table.sort(leases, function(a, b)
      if a.since ~= b.since then
        return a.since < b.since
      end
      return tonumber(a.fence) < tonumber(b.fence)
    end)
    local idle_of = {}
    for i = 1, #leases do
      local lease = leases[i]
      local shares = index.per_holder and lease.holder ~= ''
      local goes = not listed[shares and lease.holder or lease.id]
      if goes and shares and reason == 'idle' then
        -- A holder is as active as its most active lease, which is the last of them to come here.
        idle_of[lease.holder] = (idle_of[lease.holder] or 0) + 1
        goes = idle_of[lease.holder] == leases_of(index, lease.holder .. '\1c')
      end
      if goes and #seats < limit and may_go(lease) then
        listed[shares and lease.holder or lease.id] = true
        seats[#seats + 1] = lease
      end
    end
  end

  local function look_at_first(key, below, reason, many)
    local entries = redis.call('ZRANGE', key, '-inf', below, 'BYSCORE', 'LIMIT', 0, many, 'WITHSCORES')
    look_at(entries, reason)
    -- Among those behind the last one there may be one that is its equal.
    return #entries < 2 * many or (seats[limit] and seats[limit].since < tonumber(entries[#entries]))
  end

  local function list(key, below, reason)
    local found, known = #seats, listed
    for _, many in ipairs({ FIRST, SOME, LOOKED_AT }) do
      if many > FIRST or (limit == 1 and not index.per_holder) then
        for i = #seats, found + 1, -1 do
          seats[i] = nil
        end
        listed = setmetatable({}, { __index = known })
        if look_at_first(key, below, reason, many) then
          return
        end
      end
    end
  end

  if index.idle_ms and index.idle_then == 'yield' then
    list(index.idle, '+inf', 'idle')
  end
  if #seats < limit and index.hold_ms and index.hold_then == 'yield' then
    list(index.held, '(' .. held_from(index), 'max_hold')
  end
  return seats
end

-- The rule by which a seat may go to a tenant (nil: to somebody of any tenant): what is reserved for a tenant stays with it, and nothing
-- more is lent once the budget is spent. For any tenant it counts what it lets go.
local function rule_of_yielding(index, rules, tenant)
  local reserved, used = {}, {}
  for _, reserve in ipairs(rules.reserves and cjson.decode(rules.reserves) or {}) do
    reserved[reserve[1]] = reserve[2]
  end
  local may_lend = not rules.lent_seats
  if rules.lent_seats then
    may_lend = tonumber(redis.call('HGET', index.lent, int(now - now % DAY)) or 0) < tonumber(rules.lent_ms)
  end
  return function(seat)
    if seat.kind == 'o' and not may_lend then
      return false
    end
    local kept = seat.tenant ~= tenant and reserved[seat.tenant]
    if kept then
      used[seat.tenant] = used[seat.tenant] or tonumber(redis.call('HGET', index.seats, 't:' .. seat.tenant) or 0)
      if used[seat.tenant] <= kept then
        return false
      end
      used[seat.tenant] = used[seat.tenant] - (tenant and 0 or 1)
    end
    return true
  end
end

-- How many seats give way, at most `limit`. Where it takes no look at each, they are only counted.
local function count_yielding(index, rules, limit)
  if not takes_seats(index) then
    return 0
  end
  local by_idle, by_hold = index.idle_ms and index.idle_then == 'yield', index.hold_ms and index.hold_then == 'yield'
  if (by_idle and by_hold) or index.per_holder or rules.reserves or rules.lent_seats then
    return #seats_that_yield(index, limit, rule_of_yielding(index, rules))
  elseif by_idle then
    return math.min(tonumber(redis.call('HGET', index.seats, 'idle') or 0), limit)
  end
  return math.min(redis.call('ZCOUNT', index.held, '-inf', '(' .. held_from(index)), limit)
end

-- Sees to it that a sweep comes when the next lease has been held for too long: somebody waits for its seat.
local function due_by_hold(index, due, name)
  local at = next_by_hold(index)
  if at then
    redis.call('ZADD', due, 'LT', int(at), name)
  end
end
