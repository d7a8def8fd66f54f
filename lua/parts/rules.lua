-- Joined behind seats.lua in scripts that grant seats: what the pool's rules say to somebody who asks.

-- A waiter asks again every ASK_MS, and loses its place after SILENT_MS without a question. One whose connection broke
-- is passed over after RELOAD_MS, so that a page has time to load again.
local ASK_MS, SILENT_MS, RELOAD_MS = 2000, 6000, 1000

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

-- At the first look into a new period its seats are clear, but for those of holders who are in the middle of
-- a lease: that is their first use in it. Returns the period.
local function roll_over(index, named, periods)
  local period = period_of(periods, now)
  if redis.call('ZSCORE', named, period) then
    return period
  end
  -- The period itself is an entry too, so that this is done once. Those of more than 800 days ago go.
  redis.call('ZADD', named, 0, period)
  undo_by('ZREM', named, period)
  redis.call('ZREMRANGEBYLEX', named, '-', '(' .. int(now - 800 * DAY))
  if tonumber(redis.call('HGET', index.seats, 'named') or 0) > 0 then
    local who = redis.call('HGETALL', index.who)
    for i = 2, #who, 2 do
      local kind, _, _, holder = string.match(who[i], '^(.)\1(%d*)\1([^\1]*)\1(.*)$')
      if kind == 'n' and not named_seat(named, period, holder) then
        occupy(named, period, holder, tonumber(period), 'used')
      end
    end
  end
  return period
end

-- The seats that could be given now: `free`, those of them that are kept for tenants (`unmet`), and those
-- that could be lent. Taking from it changes nothing but this picture.
local function picture(index, rules)
  local counts = redis.call('HMGET', index.seats, 'all', 'overdraft')
  local world = { free = rules.capacity - tonumber(counts[1] or 0), lend = 0, unmet = {}, unmet_sum = 0,
    used = {}, max = {} }
  if rules.lent_seats then
    local seats = tonumber(rules.lent_seats)
    local spent = tonumber(redis.call('HGET', index.lent, int(now - now % DAY)) or 0)
    if spent < tonumber(rules.lent_ms) then
      world.lend = math.min(seats - tonumber(counts[2] or 0), world.free + seats)
    end
  end
  if rules.reserves then
    for _, reserve in ipairs(cjson.decode(rules.reserves)) do
      local used = tonumber(redis.call('HGET', index.seats, 't:' .. reserve[1]) or 0)
      world.unmet[reserve[1]] = math.max(reserve[2] - used, 0)
      world.unmet_sum = world.unmet_sum + world.unmet[reserve[1]]
    end
  end
  return world
end

-- Takes a seat out of the picture for a tenant. Returns its kind, or nil and the rule that forbids it.
local function take(world, tenant)
  local own = world.unmet[tenant] or 0
  if world.free - (world.unmet_sum - own) > 0 then
    world.free = world.free - 1
    if own > 0 then
      world.unmet[tenant], world.unmet_sum = own - 1, world.unmet_sum - 1
    end
    return 'c'
  end
  if world.lend > 0 then
    world.lend = world.lend - 1
    return 'o'
  end
  return nil, world.free > 0 and 'reserved' or 'full'
end

-- Whether a tenant uses all that it may, in the picture.
local function is_at_max(world, index, config, rules, tenant)
  if tenant == '' then
    return false
  end
  if not world.max[tenant] then
    local own = redis.call('HGET', config, 'max:' .. tenant)
    world.max[tenant] = tonumber(own or rules.tenant_max or math.huge)
    world.used[tenant] = tonumber(redis.call('HGET', index.seats, 't:' .. tenant) or 0)
  end
  return world.used[tenant] >= world.max[tenant]
end

-- Takes the seats of those who came before out of the picture, in the order in which they came. Those whose connection
-- broke a moment ago are passed over. Returns the instant at which the first of the others is, if one is.
local function serve_those_ahead(world, index, config, rules, queue, tickets, ahead)
  local at, passed_at = 0, nil
  while at < ahead and (world.free > 0 or world.lend > 0) do
    local ids = redis.call('ZRANGE', queue, at, math.min(at + 63, ahead - 1))
    local broken = {}
    for i = 1, #ids do
      broken[i] = 'broken:' .. ids[i]
    end
    local asks, passed = redis.call('HMGET', tickets, unpack(ids)), redis.call('HMGET', tickets, unpack(broken))
    for i = 1, #ids do
      local tenant, holder = string.match(asks[i] or '\1\1', '^([^\1]*)\1([^\1]*)')
      local from = tonumber(passed[i] or nil)
      local shares = index.per_holder and holder ~= '' and leases_of(index, holder .. '\1c') > 0
      if (not from or from > now) and not shares and not is_at_max(world, index, config, rules, tenant) and take(world, tenant) then
        world.used[tenant] = (world.used[tenant] or 0) + 1
        passed_at = from and math.min(from, passed_at or from) or passed_at
      end
    end
    at = at + 64
  end
  return passed_at
end

-- The kind of seat that somebody gets who asks now behind `ahead` others; or nil, the code of the denial,
-- for tenant_full the rule: max, tenant_max or reserved, and the instant at which somebody before it is passed over, if
-- that can change the answer. Writes nothing but a named seat.
local function admit(index, config, rules, keys, holder, tenant, ahead)
  if rules.named_seats then
    if holder ~= '' then
      local period = roll_over(index, keys.named, rules.periods)
      if named_seat(keys.named, period, holder) then
        return 'n'
      end
      -- The entry of the period itself is not counted: it has no holder behind it.
      if named_taken(keys.named, period) < tonumber(rules.named_seats) then
        take_named(keys.named, period, holder, 'used')
        return 'n'
      end
    end
    if not rules.named_spill then
      return nil, 'named_seats_exhausted'
    end
  end

  local world = picture(index, rules)
  local shares = index.per_holder and holder ~= '' and leases_of(index, holder .. '\1c') > 0
  local shares_in_tenant = shares and leases_of(index, holder .. '\1c\1' .. tenant) > 0
  if not shares_in_tenant and is_at_max(world, index, config, rules, tenant) then
    return nil, 'tenant_full', rules.own_max and 'max' or 'tenant_max'
  end
  if shares then
    local lease = redis.call('ZRANGEBYLEX', index.holders, '[' .. holder .. '\1c\1', '(' .. holder .. '\1c\2', 'LIMIT', 0, 1)
    return (seat_of(index, string.sub(lease[1], -22)))
  end
  local passed_at = serve_those_ahead(world, index, config, rules, keys.queue, keys.tickets, ahead)
  local kind, why = take(world, tenant)
  if kind then
    return kind
  elseif why == 'reserved' and rules.reserves then
    return nil, 'tenant_full', 'reserved', passed_at
  end
  return nil, 'pool_full', nil, passed_at
end

-- Gives somebody a place, or its old one back: `arrival` is its order, `asked` what it asked for. A node of the version
-- before reads `asked` to its end, so what is newer has fields of its own.
local function take_place(keys, id, arrival, since, asked)
  redis.call('ZADD', keys.queue, int(arrival), id)
  undo_by('ZREM', keys.queue, id)
  redis.call('ZADD', keys.waiting, int(now + SILENT_MS), id)
  undo_by('ZREM', keys.waiting, id)
  redis.call('HSET', keys.tickets, id, asked, 'since:' .. id, int(since))
  undo_by('HDEL', keys.tickets, id, 'since:' .. id)
end

local function give_up_place(keys, id)
  undo_member(keys.queue, id)
  redis.call('ZREM', keys.queue, id)
  undo_member(keys.waiting, id)
  redis.call('ZREM', keys.waiting, id)
  undo_fields(keys.tickets, id, 'since:' .. id, 'broken:' .. id)
  redis.call('HDEL', keys.tickets, id, 'since:' .. id, 'broken:' .. id)
  -- A node of the version before leaves those two behind.
  if redis.call('ZCARD', keys.queue) == 0 then
    redis.call('UNLINK', keys.tickets)
  end
end

-- Drops those who did not ask again in time. Returns whether all of them are gone.
local function drop_the_silent(queue, waiting, tickets, events)
  local silent = redis.call('ZRANGE', waiting, '-inf', int(live_from(SILENT_MS)), 'BYSCORE', 'LIMIT', 0, 256)
  for i = 1, #silent do
    local tenant, holder = string.match(redis.call('HGET', tickets, silent[i]) or '\1\1', '^([^\1]*)\1([^\1]*)')
    give_up_place({ queue = queue, waiting = waiting, tickets = tickets }, silent[i])
    record_event(events, 'gave_up', silent[i], now, holder, tenant, 'silent')
  end
  return #silent < 256
end

-- About how long somebody waits who is `position` in the queue, by how seats came free lately: `ends` of them in
-- `held_ms` seat-milliseconds (seats.lua). Until four have, part of it is a guess: one in each TTL. It changes slowly
-- while nothing happens, so what people read does not jump.
local function waits_for(index, ttl, capacity, position)
  local all, ends, held_ms = pace_of(index, now)
  local guess = math.max(10000, math.min(ttl, 600000) * (1 - math.min(ends / 4, 1)))
  local each = (held_ms / math.max(all, 1) + guess) / (ends + 1)
  -- A seat that is free falls to somebody before the places of the silent have lapsed.
  local to_end = position - (capacity - all)
  return math.max(to_end > 0 and to_end * each or math.min(each, SILENT_MS), 1)
end
