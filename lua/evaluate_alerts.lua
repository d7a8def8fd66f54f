-- Judges what happened in a pool since the last look, and tells of the alerts that this raises or resolves. State and
-- outbox change in one step, so all nodes together send each once.
--
-- The level after each event is followed in the order in which the events were written, so a peak between two looks is
-- seen. That order never shows a level that was not there on its way up: a script that grants ends what is due first,
-- and if more was due than it may end, it ends more than it grants.
--
-- Joined behind prelude, schedule, seats, alerts.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   outbox   STREAM  the bucket's alerts
--   alerts   HASH    what is known of the pool's alerts, and how far its events are judged
--   config   HASH    the pool's policy
--   events   STREAM  the pool's history
--   leases   ZSET    lease id -> expiry, ms
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   queue    ZSET    ticket -> order of arrival
--   evaluations  ZSET  pool -> when its alerts are to be evaluated, ms
--   rollups      ZSET  pool -> when its history is to be rolled up, ms
--   idle     ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--
-- Arguments:
--   pool   pool   the pool
--   limit  count  maximum of events
--
-- Returns:
--   judged     up to now
--   more       there are more events: ask again
--   unindexed  the index does not know all leases
--   no_pool    there is no such pool
--
-- With:
--   last  text?  the last entry of the outbox

redis.call('PERSIST', clock)

-- Points of percent between raising and resolving. A pool that goes up and down all the time raises it at most
-- FLAPS times in FLAP_MS; then an alert stays until its cause was away for CALM_MS.
local HYSTERESIS, FLAPS, FLAP_MS, CALM_MS = 5, 10, 600000, 60000
-- How long after an event the history is rolled up: not for all pools at once that something happened in at once.
local ROLL_UP_MS, SPREAD_MS = 180000, 120000
-- True denials, and denials while seats were idle: resolved after this time without one.
local DENIALS_MS = 600000
-- Expiries: share of the ends within WINDOW_MS against that of about a week, which is WEEK windows.
local WINDOW_MS, WEEK, LEAST_EXPIRED, LEAST_ENDS = 600000, 1008, 20, 100

local policy = redis.call('HMGET', config, 'capacity', 'policy', 'schedule')
if not policy[1] then
  redis.call('ZREM', evaluations, pool)
  return answer('no_pool')
end
local rules = cjson.decode(policy[2])
local index = open_complete_index(config, who, seats, holders, lent)
if index and not is_whole(index, leases) then
  return answer('unindexed')
end
mark()

local held = {}
local fields = redis.call('HGETALL', alerts)
for i = 1, #fields, 2 do
  held[fields[i]] = fields[i + 1]
end

local function number(name)
  return tonumber(held[name] or 0)
end

-- What is known of an alert: f: since when it is raised, n: and w: how often in which time, c: since when its cause
-- is away while it stays because of that.
local function resolve(name, alert, at)
  alert.at, alert.since, alert['until'], alert.pool = now, number('f:' .. name), at, pool
  tell(outbox, name, 'resolved', alert)
  held['f:' .. name], held['c:' .. name] = nil, nil
end

local function raise(name, at, alert)
  held['c:' .. name] = nil
  if held['f:' .. name] then
    return
  end
  if at > number('w:' .. name) + FLAP_MS then
    held['w:' .. name], held['n:' .. name] = int(at), '0'
  end
  held['n:' .. name] = int(number('n:' .. name) + 1)
  held['f:' .. name] = int(at)
  alert.at, alert.since, alert.pool = now, at, pool
  alert.flapping = number('n:' .. name) >= FLAPS or nil
  tell(outbox, name, 'firing', alert)
end

local function clear(name, at, alert)
  if not held['f:' .. name] then
    return
  elseif number('n:' .. name) >= FLAPS then
    held['c:' .. name] = held['c:' .. name] or int(at)
    if now < number('c:' .. name) + CALM_MS then
      return
    end
    at = number('c:' .. name)
  end
  resolve(name, alert, at)
end

local levels = { { 'pool.full', 100 } }
for _, percent in ipairs(rules.alert_at_percent or {}) do
  levels[#levels + 1] = { 'pool.level:' .. int(percent), percent }
end

local function judge_levels(in_use, capacity, at)
  for i = 1, #levels do
    local name, percent = levels[i][1], levels[i][2]
    if capacity > 0 and in_use * 100 >= percent * capacity then
      raise(name, at, { in_use = in_use, capacity = capacity })
    elseif capacity == 0 or in_use * 100 <= math.max(percent - HYSTERESIS, 0) * capacity then
      clear(name, at, { in_use = in_use, capacity = capacity })
    end
  end
end

local function judge_queue(waiting, at)
  local most = rules.queue and rules.queue.max_waiting or 0
  if most > 0 and waiting * 100 >= 80 * most then
    raise('pool.queue', at, { waiting = waiting, max_waiting = most })
  elseif waiting * 100 <= 75 * most then
    clear('pool.queue', at, { waiting = waiting, max_waiting = most })
  end
end

-- What happened. A pool that was never looked at begins with its last minute, unless that was too much.
local first = held.cursor and '(' .. held.cursor or int(now - 60000)
local is_first = not held.cursor
local batch = redis.call('XRANGE', events, first, '+', 'COUNT', limit)
local whole = #batch < limit
if not held.cursor then
  local last = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  batch, whole = whole and batch or {}, true
  held.cursor = last and last[1]
end

-- Field by field as record_event of the prelude writes them: type, id, at, holder, tenant, reason, and sometimes seats.
local KIND, AT, REASON, SEATS = 2, 6, 12, 14
local changes, change, idle_change = {}, 0, 0
local ends, expired = 0, 0
for i = 1, #batch do
  local entry = batch[i][2]
  local kind, taken = entry[KIND], tonumber(entry[SEATS] or 1)
  local by, capacity
  if kind == 'started' or kind == 'resumed' or kind == 'rebuilt' then
    by = taken
  elseif kind == 'ended' then
    by = -taken
    ends = ends + 1
    expired = expired + (entry[REASON] == 'expired' and 1 or 0)
  elseif kind == 'configured' then
    by, capacity = 0, tonumber(entry[REASON])
  elseif kind == 'denied' and entry[REASON] == 'queue_full' and rules.queue then
    judge_queue(rules.queue.max_waiting, tonumber(entry[AT]))
  end
  local more_idle = rules.idle and tonumber((entry[13] == 'idle' and entry[14]) or (entry[15] == 'idle' and entry[16]) or 0) or 0
  local wanted_a_seat = rules.idle and kind == 'denied' and (entry[REASON] == 'pool_full' or entry[REASON] == 'queue_full')
  if by or more_idle ~= 0 or wanted_a_seat then
    change, idle_change = change + (by or 0), idle_change + more_idle
    local is_policy = kind == 'ended' and (entry[REASON] == 'idle' or entry[REASON] == 'max_hold' or entry[REASON] == 'evicted')
    changes[#changes + 1] = { tonumber(entry[AT]), by or 0, capacity, more_idle, wanted_a_seat, is_policy }
  end
  held.cursor = batch[i][1]
end

-- Where it began follows from where it ended; only amid a long batch it is what the last one came to.
local present = index and tonumber(redis.call('HGET', index.seats, 'all') or 0) or redis.call('ZCARD', leases)
local capacity_now = capacity_at(policy[1], policy[3] or nil, now)
local in_use = whole and present - change or number('level')
local capacity = tonumber(held.capacity) or capacity_now
local idle_now = rules.idle and index and tonumber(redis.call('HGET', index.seats, 'idle') or 0) or 0
local idle_seats = whole and idle_now - idle_change or number('idle')
-- Somebody was denied while seats were idle: when that was last, and how many they were.
local denied_while_idle, were_idle
for i = 1, #changes do
  local at, by, seats, more_idle, wanted_a_seat, is_policy = unpack(changes[i], 1, 6)
  in_use, capacity, idle_seats = in_use + by, seats or capacity, idle_seats + more_idle
  if wanted_a_seat and idle_seats > 0 then
    denied_while_idle, were_idle = at, idle_seats
  end
  -- A seat that went from one to another in one step was never free.
  local next_change = is_policy and changes[i + 1]
  if not (next_change and next_change[1] == at and next_change[2] > 0) then
    judge_levels(math.max(in_use, 0), capacity, at)
  end
end
if whole then
  in_use, capacity = present, capacity_now
  judge_levels(in_use, capacity, now)
end
held.level, held.capacity = int(in_use), int(capacity)
held.idle = rules.idle and int(whole and idle_now or idle_seats) or nil

judge_queue(redis.call('ZCARD', queue), now)

-- True denials: counted by the sweep that notices that a holder got no seat within two minutes.
if held.denied then
  held.denied_at = int(now)
  held.denied_sum = int((held['f:pool.denials'] and number('denied_sum') or 0) + number('denied'))
  raise('pool.denials', now, { denials = number('denied'), in_use = in_use, capacity = capacity })
  held.denied = nil
elseif now >= number('denied_at') + DENIALS_MS then
  clear('pool.denials', now, { denials = number('denied_sum'), in_use = in_use, capacity = capacity })
end

if denied_while_idle then
  local longest = redis.call('ZRANGE', idle, 0, 0, 'WITHSCORES')
  local since = tonumber(longest[2] or denied_while_idle)
  held.idle_denied_at = int(denied_while_idle)
  raise('pool.idle_while_denied', denied_while_idle, { idle = were_idle, idle_ms = math.max(now - since, 0), in_use = in_use,
    capacity = capacity })
elseif now >= number('idle_denied_at') + DENIALS_MS then
  clear('pool.idle_while_denied', now, { idle = idle_seats, in_use = in_use, capacity = capacity })
end

-- Expiries. A window that is over becomes part of what is usual, which fades within about a week.
local begun = number('window')
if begun == 0 then
  begun = now
end
local usual = (number('usual_expired') + 1) / (number('usual_ends') + 2)
local most = math.max(0.3, math.min(3 * usual, (1 + usual) / 2))
local function is_spike()
  return number('window_expired') >= LEAST_EXPIRED and number('window_expired') >= most * number('window_ends')
end
local function shares()
  return { share = number('window_expired') / math.max(number('window_ends'), 1), usual_share = usual,
    expired = number('window_expired') }
end
if now >= begun + WINDOW_MS then
  if not is_spike() then
    clear('pool.expiry_spike', now, shares())
  end
  local over = math.floor((now - begun) / WINDOW_MS)
  local kept = (1 - 1 / WEEK) ^ over
  held.usual_ends = string.format('%.4f', number('usual_ends') * kept + number('window_ends'))
  held.usual_expired = string.format('%.4f', number('usual_expired') * kept + number('window_expired'))
  held.window_ends, held.window_expired = '0', '0'
  begun = begun + over * WINDOW_MS
end
held.window = int(begun)
held.window_ends = int(number('window_ends') + ends)
held.window_expired = int(number('window_expired') + expired)
-- Where most leases end so anyway, the share tells nothing.
if number('usual_ends') >= LEAST_ENDS and usual <= 0.75 and is_spike() then
  raise('pool.expiry_spike', now, shares())
end

-- Overdraft: what was lent today, and when the budget will be spent if it goes on like this.
local spent_at
if rules.overdraft and index and index.lent_seats then
  local today = now - now % DAY
  local lent = tonumber(redis.call('HGET', index.lent, int(today)) or 0)
  each_loan(index, now, function(day, ms, seats)
    lent = lent + (day == today and ms * seats or 0)
  end)
  local budget = rules.overdraft.seat_minutes_per_day * 60000
  local borrowed = math.min(tonumber(redis.call('HGET', index.seats, 'overdraft') or 0), in_use - capacity)
  local alert = { lent_ms = lent, budget_ms = budget }
  if lent >= budget then
    raise('pool.overdraft', now, alert)
    spent_at = today + DAY
  else
    clear('pool.overdraft', now, alert)
    spent_at = borrowed > 0 and now + math.ceil((budget - lent) / borrowed) or nil
  end
else
  clear('pool.overdraft', now, { lent_ms = 0, budget_ms = 0 })
end

-- A level that the policy does not name any more, and what waits for time to pass.
local wanted = {}
for i = 1, #levels do
  wanted[levels[i][1]] = true
end
local look_at = spent_at or math.huge
local raised = {}
for field in pairs(held) do
  local name = string.match(field, '^f:(.*)$')
  if name then
    raised[#raised + 1] = name
  end
end
for _, name in ipairs(raised) do
  if string.find(name, '^pool%.level') and not wanted[name] then
    resolve(name, { in_use = in_use, capacity = capacity, reason = 'policy' }, now)
  elseif held['c:' .. name] then
    look_at = math.min(look_at, number('c:' .. name) + CALM_MS)
  elseif name == 'pool.denials' then
    look_at = math.min(look_at, number('denied_at') + DENIALS_MS)
  elseif name == 'pool.idle_while_denied' then
    look_at = math.min(look_at, number('idle_denied_at') + DENIALS_MS)
  elseif name == 'pool.expiry_spike' then
    look_at = math.min(look_at, begun + WINDOW_MS)
  elseif name == 'pool.queue' then
    look_at = math.min(look_at, now + 2000)
  end
end
held.look_at = look_at < math.huge and int(look_at) or nil

local written = {}
for field, value in pairs(held) do
  written[#written + 1], written[#written + 2] = field, value
end
redis.call('DEL', alerts)
if #fields > 0 then
  undo_by('HSET', alerts, unpack(fields))
end
redis.call('HSET', alerts, unpack(written))
undo_by('DEL', alerts)

if (#batch > 0 or is_first)
  and redis.call('ZADD', rollups, 'NX', int(now + ROLL_UP_MS + seq * 7919 % SPREAD_MS), pool) == 1 then
  undo_by('ZREM', rollups, pool)
end
undo_member(evaluations, pool)
if whole and not held.look_at then
  redis.call('ZREM', evaluations, pool)
else
  redis.call('ZADD', evaluations, whole and held.look_at or int(now), pool)
end

local last = redis.call('XREVRANGE', outbox, '+', '-', 'COUNT', 1)[1]
return answer(whole and 'judged' or 'more', { last = last and last[1] })
