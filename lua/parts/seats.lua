-- Joined behind schedule.lua in scripts that start or end leases: who has which seat, in pools whose rules
-- count by holder, tenant or kind of seat. None of this is truth. It follows `leases` step by step, a lease
-- is in `who` exactly as long as it is in `leases`, and reindex.lua makes it again from the records.
--
-- Kinds of seat: c concurrent, o lent beyond the capacity (overdraft), n named.
-- Texts are parted by \1, which no holder and no tenant contains.

local DAY = 86400000
-- How long an index is kept in step that is being made and that nobody works at.
local INDEXING_MS = 30000
-- Maximum of leases per seat that are looked at to decide whether it is idle. A seat with more is taken for active.
local SHARED = 64

-- The index of a pool; nil in one whose rules need none. While it is made for rules to come (`indexing`, the end of that), it is
-- kept in step and nothing may be counted by it. One whose making was given up is none.
-- Scripts that start or end leases, or call somebody, also give `idle` and `held`.
local function open_index(config, who, seats, holders, lent, idle, held)
  local rules = redis.call('HMGET', config, 'indexed', 'seat_per', 'lent_seats', 'capacity', 'schedule', 'indexing', 'max_waiting',
    'idle_ms', 'idle_then', 'hold_ms', 'hold_then', 'idle_people', 'hold_notice_ms')
  if not rules[1] or (rules[6] and tonumber(rules[6]) < now) then
    return nil
  end
  return { per_holder = rules[2] == 'holder', lent_seats = tonumber(rules[3]), capacity = rules[4],
    schedule = rules[5] or nil, who = who, seats = seats, holders = holders, lent = lent, queues = rules[7],
    incomplete = rules[6] and true, freed_of = {}, idle = idle, held = held, idle_ms = idle and tonumber(rules[8]),
    idle_then = rules[9], hold_ms = held and tonumber(rules[10]), hold_then = rules[11], people = rules[12],
    hold_notice_ms = tonumber(rules[13] or 0) }
end

-- The same for those who count by it: nil also while it is being made.
local function open_complete_index(...)
  local index = open_index(...)
  return index and not index.incomplete and index or nil
end

-- How many leases on seats of the capacity begin with these parts: a holder, or a holder and its tenant.
local function leases_of(index, prefix)
  return redis.call('ZLEXCOUNT', index.holders, '[' .. prefix .. '\1', '(' .. prefix .. '\2')
end

-- Calls `each` with the day, the time and the seats of every stretch in which seats were lent, up to `at`.
-- Lent is what is in use beyond the capacity, and never more than was granted on the overdraft. Returns up to when it was
-- charged before.
local function each_loan(index, at, each)
  local charged = redis.call('HGET', index.lent, 'since')
  local since = tonumber(charged or at)
  local counts = redis.call('HMGET', index.seats, 'all', 'overdraft')
  local all, overdraft = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
  while overdraft > 0 and since < at do
    local day = since - since % DAY
    local stop = math.min(at, day + DAY, next_change(index.schedule, since) or at)
    local seats = math.min(overdraft, all - capacity_at(index.capacity, index.schedule, since))
    if seats > 0 then
      each(day, stop - since, seats)
    end
    since = stop
  end
  return charged
end

-- Whether all leases are idle that share the seat of a holder.
local function shared_seat_is_idle(index, holder)
  local entries = redis.call('ZRANGEBYLEX', index.holders, '[' .. holder .. '\1c\1', '(' .. holder .. '\1c\2', 'LIMIT', 0, SHARED + 1)
  if #entries == 0 or #entries > SHARED then
    return false
  end
  for i = 1, #entries do
    entries[i] = string.sub(entries[i], -22)
  end
  local idle = redis.call('ZMSCORE', index.idle, unpack(entries))
  for i = 1, #entries do
    if not idle[i] then
      return false
    end
  end
  return true
end

-- Forgets what is known of the use of a lease. Returns whether it was idle by its last report.
local function forget_use(index, id, fence)
  if index.hold_ms and redis.call('ZREM', index.held, id) == 1 then
    undo_by('ZADD', index.held, fence, id)
  end
  local since = index.idle_ms and redis.call('ZSCORE', index.idle, id)
  if since then
    redis.call('ZREM', index.idle, id)
    undo_by('ZADD', index.idle, since, id)
  end
  return since and true or false
end

-- Charges what was lent since the last change of seats. Comes before every such change.
local function settle(index, at)
  if index.lent_seats then
    local since = each_loan(index, at, function(day, time, seats)
      add(index.lent, int(day), time * seats)
    end)
    redis.call('HSET', index.lent, 'since', int(at))
    if since then
      undo_by('HSET', index.lent, 'since', since)
    else
      undo_by('HDEL', index.lent, 'since')
    end
  end
end

-- How seats came free lately, for those who wait: seats in use, how many came free, and the seat-milliseconds in which
-- they did. Nothing is counted for an outage, in which nobody could leave.
local function pace_of(index, at)
  local known = redis.call('HMGET', index.seats, 'all', 'ends', 'held_ms', 'counted_to')
  local all, counted_to = tonumber(known[1] or 0), tonumber(known[4] or at)
  local passed = at - counted_to
  if back > counted_to and at >= back then
    passed = passed - (back - math.max(floor, counted_to))
  end
  passed = math.max(passed, 0)
  -- A thousandth of an end is counted, because the hash has whole numbers only.
  return all, tonumber(known[2] or 0) / 1000, tonumber(known[3] or 0) + all * passed, passed, counted_to, known
end

-- Counts up to now. Comes before every change of the seats in use. What is older than two minutes and about 32 changes
-- fades, whichever is longer, so this is bounded and follows the day.
local function keep_pace(index, at, ended)
  if not index.queues then
    return
  end
  local _, ends, held_ms, passed, counted_to, known = pace_of(index, at)
  local kept = 1 - math.min(passed / 120000, 1 / 32)
  redis.call('HSET', index.seats, 'ends', int((ends * kept + ended) * 1000), 'held_ms', int(held_ms * kept),
    'counted_to', int(math.max(at, counted_to)))
  if known[4] then
    undo_by('HSET', index.seats, 'ends', known[2], 'held_ms', known[3], 'counted_to', known[4])
  else
    undo_by('HDEL', index.seats, 'ends', 'held_ms', 'counted_to')
  end
end

local function count(key, field, by)
  if add(key, field, by) <= 0 then
    redis.call('HDEL', key, field)
  end
end

-- Counts the seats of a tenant, and with them the sum of those that are reserved and not in use, if that is kept (queue.lua).
local function count_tenant(index, tenant, by)
  local used = add(index.seats, 't:' .. tenant, by)
  if used <= 0 then
    redis.call('HDEL', index.seats, 't:' .. tenant)
  end
  local known = redis.call('HMGET', index.seats, 'unmet', 'r:' .. tenant)
  local reserved = tonumber(known[2] or 0)
  if known[1] and (by > 0 and used <= reserved or by < 0 and used < reserved) then
    redis.call('HINCRBY', index.seats, 'unmet', -by)
    undo_by('HINCRBY', index.seats, 'unmet', by)
  end
end

-- Counts seats that became idle, or are no longer. Returns what an event has of it: `seats`, alone or with that.
local function count_idle(index, seats, was_idle, is_idle)
  local more = (is_idle and 1 or 0) - (was_idle and 1 or 0)
  if more == 0 then
    return seats
  end
  count(index.seats, 'idle', more)
  return { seats, more }
end

-- Notes that a lease has a seat. Returns how many seats of the capacity that takes, as record_event wants it.
local function seat_taken(index, at, id, kind, fence, tenant, holder)
  local was_idle = index.idle_ms and index.per_holder and holder ~= '' and kind ~= 'n' and shared_seat_is_idle(index, holder)
  settle(index, at)
  local new, new_in_tenant = kind ~= 'n', kind ~= 'n'
  if new and index.per_holder and holder ~= '' then
    new = leases_of(index, holder .. '\1c') == 0
    new_in_tenant = leases_of(index, holder .. '\1c\1' .. tenant) == 0
  end
  redis.call('HSET', index.who, id, kind .. '\1' .. fence .. '\1' .. tenant .. '\1' .. holder)
  undo_by('HDEL', index.who, id)
  if holder ~= '' then
    local entry = table.concat({ holder, kind == 'n' and 'n' or 'c', tenant, fence, id }, '\1')
    redis.call('ZADD', index.holders, 0, entry)
    undo_by('ZREM', index.holders, entry)
  end
  if new then
    keep_pace(index, at, 0)
    count(index.seats, 'all', 1)
    if kind == 'o' then
      count(index.seats, 'overdraft', 1)
    end
  end
  if new_in_tenant and tenant ~= '' then
    count_tenant(index, tenant, 1)
  end
  if kind == 'n' then
    count(index.seats, 'named', 1)
  elseif index.hold_ms then
    redis.call('ZADD', index.held, fence, id)
    undo_by('ZREM', index.held, id)
  end
  -- Nothing is known of its user, so it is active, and with it the seat that it shares.
  return count_idle(index, new and 1 or 0, was_idle, false)
end

-- Kind, fence, tenant and holder of a lease in the index.
local function seat_of(index, id)
  local packed = redis.call('HGET', index.who, id)
  if packed then
    return string.match(packed, '^(.)\1(%d*)\1([^\1]*)\1(.*)$')
  end
  return nil
end

-- Notes that a lease has its seat no more; hand_on of queue.lua calls somebody for it. Returns how many seats of the
-- capacity that frees, as record_event wants it; nil for a lease that is not in the index.
local function seat_freed(index, at, id)
  local kind, fence, tenant, holder = seat_of(index, id)
  if not kind then
    return nil
  end
  settle(index, at)
  local shares = index.per_holder and holder ~= '' and kind ~= 'n'
  local was_idle
  if index.idle_ms or index.hold_ms then
    was_idle = index.idle_ms and shares and shared_seat_is_idle(index, holder)
    local lease_was_idle = forget_use(index, id, fence)
    was_idle = was_idle or (not shares and lease_was_idle)
  end
  redis.call('HDEL', index.who, id)
  undo_by('HSET', index.who, id, table.concat({ kind, fence, tenant, holder }, '\1'))
  if holder ~= '' then
    local entry = table.concat({ holder, kind == 'n' and 'n' or 'c', tenant, fence, id }, '\1')
    redis.call('ZREM', index.holders, entry)
    undo_by('ZADD', index.holders, 0, entry)
  end
  if kind == 'n' then
    count(index.seats, 'named', -1)
    return 0
  end
  local last, last_in_tenant = true, true
  if index.per_holder and holder ~= '' then
    last = leases_of(index, holder .. '\1c') == 0
    last_in_tenant = leases_of(index, holder .. '\1c\1' .. tenant) == 0
  end
  if last then
    keep_pace(index, at, 1)
    count(index.seats, 'all', -1)
    if kind == 'o' then
      count(index.seats, 'overdraft', -1)
    end
    index.freed = true
  end
  if last_in_tenant and tenant ~= '' then
    count_tenant(index, tenant, -1)
    index.freed_of[tenant] = true
  end
  return count_idle(index, last and 1 or 0, was_idle, index.idle_ms and shares and not last and shared_seat_is_idle(index, holder))
end

-- For end_due: what else is to be done when a lease ends.
local function on_end(index)
  return index and function(id, at)
    return seat_freed(index, at, id)
  end
end

-- Whether every live lease is in the index, and no other. Only after all that was due has ended.
local function is_whole(index, leases)
  return redis.call('HLEN', index.who) == redis.call('ZCARD', leases)
end
