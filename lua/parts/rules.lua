-- Joined behind seats.lua in scripts that grant seats: what the pool's rules say to somebody who asks.

-- The rules that a pool has; those it does not have are nil.
local function read_rules(config, tenant)
  local names = { 'capacity', 'ttl_ms', 'linger_ms', 'schedule', 'noted', 'tenant_max', 'reserves', 'named_seats', 'named_spill',
    'periods', 'lent_seats', 'lent_ms', 'max_waiting', 'when_full', 'privacy', 'platforms', 'maintenance',
    'maintenance_ms', 'version', 'max:' .. tenant }
  local values = redis.call('HMGET', config, unpack(names))
  local rules = {}
  for i = 1, #names do
    rules[names[i]] = values[i] or nil
  end
  if rules.capacity then
    rules.ttl = tonumber(rules.ttl_ms)
    rules.base, rules.capacity = rules.capacity, capacity_at(rules.capacity, rules.schedule, now)
    rules.own_max = tonumber(values[#names] or nil)
  end
  return rules
end

-- Begin and end of the billing period of an instant: `periods` are the begins, 13 digits each, in order.
local function period_of(periods, at)
  local low, high = 1, math.floor(#periods / 14)
  while low < high do
    local middle = math.ceil((low + high) / 2)
    if tonumber(string.sub(periods, middle * 14 - 13, middle * 14 - 1)) <= at then
      low = middle
    else
      high = middle - 1
    end
  end
  return string.sub(periods, low * 14 - 13, low * 14 - 1), string.sub(periods, low * 14 + 1, low * 14 + 13)
end

local function named_taken(named, period)
  return redis.call('ZLEXCOUNT', named, '[' .. period .. '\1', '(' .. period .. '\2')
end

-- The entry of a holder's named seat: period, holder, since when, how it came by it. Nil if it has none.
local function named_seat(named, period, holder)
  local prefix = period .. '\1' .. holder
  return redis.call('ZRANGEBYLEX', named, '[' .. prefix .. '\1', '(' .. prefix .. '\2', 'LIMIT', 0, 1)[1]
end

local function occupy(named, period, holder, at, how)
  local entry = table.concat({ period, holder, int(at), how }, '\1')
  redis.call('ZADD', named, 0, entry)
  undo_by('ZREM', named, entry)
end

-- A seat that was freed by hand is lent on only once in its period, as one that is transferred: its next holder keeps it.
-- It is an entry of its own until then, behind those of the period.
local function free_named(named, period, holder)
  redis.call('ZADD', named, 0, period .. '\2' .. holder)
  undo_by('ZREM', named, period .. '\2' .. holder)
end

-- Gives a holder a seat: first one that was freed. A holder that comes back to its own has it as before.
local function take_named(named, period, holder, how)
  local freed = redis.call('ZRANGEBYLEX', named, '[' .. period .. '\2', '(' .. period .. '\3', 'LIMIT', 0, 1)[1]
  if freed and redis.call('ZREM', named, period .. '\2' .. holder) == 1 then
    undo_by('ZADD', named, 0, period .. '\2' .. holder)
  elseif freed then
    redis.call('ZREM', named, freed)
    undo_by('ZADD', named, 0, freed)
    how = 'transferred'
  end
  occupy(named, period, holder, now, how)
end

-- How many leases one call carries over into a new period: about a millisecond of Redis's time.
local CARRIED = 100

-- At the first look into a new period its seats are clear, but for those of holders who are in the middle of a lease: that is
-- their first use in it. Returns the period, and whether all of them are carried over; before that nobody else may take a seat.
local function roll_over(index, named, periods)
  local period = period_of(periods, now)
  if redis.call('ZSCORE', named, period) then
    return period, true
  end
  -- How far it came is an entry behind those of the period: the last one of the index that was looked at.
  local reached = redis.call('ZRANGEBYLEX', named, '[' .. period .. '\3', '(' .. period .. '\4', 'LIMIT', 0, 1)[1]
  local entries = {}
  if tonumber(redis.call('HGET', index.seats, 'named') or 0) > 0 then
    local from = reached and '(' .. string.sub(reached, #period + 2) or '-'
    entries = redis.call('ZRANGEBYLEX', index.holders, from, '+', 'LIMIT', 0, CARRIED)
  end
  for i = 1, #entries do
    local holder, kind = string.match(entries[i], '^(.*)\1(.)\1[^\1]*\1%d*\1[^\1]*$')
    if kind == 'n' and not named_seat(named, period, holder) then
      occupy(named, period, holder, tonumber(period), 'used')
    end
  end
  local mark = entries[CARRIED] and period .. '\3' .. entries[CARRIED] or period
  redis.call('ZADD', named, 0, mark)
  undo_by('ZREM', named, mark)
  if reached then
    redis.call('ZREM', named, reached)
    undo_by('ZADD', named, 0, reached)
  end
  if mark == period then
    -- The period itself is an entry too, so that this is done once. Those of more than 800 days ago go.
    redis.call('ZREMRANGEBYLEX', named, '-', '(' .. int(now - 800 * DAY))
  end
  return period, mark == period
end

-- The kind of seat that somebody gets who asks now, with the place `id` that came as `arrival`, or as a newcomer; or nil, the code of the
-- denial, and for tenant_full the rule: max, tenant_max or reserved; for pool_full `yield` if somebody may give way; or nil and `behind`,
-- if it cannot be said before more is carried over into a new period. Calls those who are next, and writes besides nothing but a named seat.
local function admit(queue, index, config, rules, named, holder, tenant, id, arrival)
  if rules.named_seats then
    if holder ~= '' then
      local period, carried = roll_over(index, named, rules.periods)
      if named_seat(named, period, holder) then
        return 'n'
      elseif not carried then
        return nil, 'behind'
      end
      -- The entry of the period itself is not counted: it has no holder behind it.
      if named_taken(named, period) < tonumber(rules.named_seats) then
        take_named(named, period, holder, 'used')
        return 'n'
      end
    end
    if not rules.named_spill then
      return nil, 'named_seats_exhausted'
    end
  end

  local shares = index.per_holder and holder ~= '' and leases_of(index, holder .. '\1c') > 0
  local shares_in_tenant = shares and leases_of(index, holder .. '\1c\1' .. tenant) > 0
  local used = tenant ~= '' and tonumber(redis.call('HGET', index.seats, 't:' .. tenant) or 0) or 0
  if not shares_in_tenant and tenant ~= '' and used >= tonumber(rules.own_max or rules.tenant_max or math.huge) then
    return nil, 'tenant_full', rules.own_max and 'max' or 'tenant_max'
  end
  if shares then
    local lease = redis.call('ZRANGEBYLEX', index.holders, '[' .. holder .. '\1c\1', '(' .. holder .. '\1c\2', 'LIMIT', 0, 1)
    return (seat_of(index, string.sub(lease[1], -22)))
  end
  queue.call_next()
  local kind, why = queue.take(tenant, id, arrival)
  if kind then
    return kind
  elseif why == 'reserved' then
    return nil, 'tenant_full', 'reserved'
  elseif why == 'yield' then
    return nil, 'pool_full', 'yield'
  end
  return nil, 'pool_full'
end
