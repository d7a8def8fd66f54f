-- Extends live leases of one pool that has `idle`, `max_hold` or `hand_over`, many in one call: notes how active their users are, says which of
-- them can lose their seats soon, ends those whose time is over, and tells that seats are asked for. All other pools have renew.lua; what is not that simple is left to resume.lua.
--
-- Joined behind prelude, record, schedule, seats, yielding, queue, idle, details, heartbeats.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   due      ZSET    pool -> lower bound of its earliest expiry, ms
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   evicted  ZSET    lease id -> end, ms; not yet in a tombstone
--   events   STREAM  the pool's history
--   evaluations  ZSET  pool -> when its alerts are to be evaluated, ms
--   records  HASH    lease id -> what is known of the lease
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, idle, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   idle     ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held     ZSET    lease id -> fence
--   queue    ZSET    ticket -> order of arrival
--   waiting  ZSET    ticket -> deadline of its next request, ms
--   tickets  HASH    ticket -> what was asked for
--   line     ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads    ZSET    tenant -> arrival of its first one in line
--   called   ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--
-- Arguments:
--   name    pool   the pool, for the due index
--   margin  ms     how long the records outlive leases that are not renewed
--   sample  flag   to look at the first heartbeat: how late it is
--   each heartbeat:  at most 256
--     id  lease  the lease
--   each report:  of those heartbeats that say something new. Of all others the users are active, or nothing is known of them, as before
--     place       count  number of its heartbeat, from 1
--     unused_for  ms?    for how long its user has done nothing, as far as its holder reports it
--     looks_at    all|use|hold  what to look at: that, or for how long it has been held
--   each detail:
--     heartbeat   count   number of its heartbeat, from 1
--     label       change  the new one
--     activities  change  the new JSON array
--     read        flag    to return both as they are then; else they are empty, and only the TTL of the records is set
--
-- Returns:
--   renewed  those that live
--
-- With:
--   rest   number?  as in renew.lua
--   ttl    ms       of the pool; 0 where there is no such pool
--   marks  text     a character for each heartbeat: 1 renewed, 2 renewed, and its record may say more than its token, 0 left to resume.lua, i ended because it is idle, h because it was held for
--                   too long
--   requests       count  requests for a seat that are open
--   requests_rest  ms     for how long the last of them is
--   each detail:
--     label       text?  as it is now
--     activities  json?  as they are now
--     known       flag   the lease was renewed, and its record is there; if not, it is left to resume.lua
--   each warning:
--     heartbeat  count          number of its heartbeat, from 1
--     within     ms             the time until the seat can be lost; 0 once that is at any instant
--     reason     idle|max_hold  the policy
--     how        yield|end      what it does then

-- A write that takes no memory comes first, so that a full memory ends nobody.
redis.call('PERSIST', clock)
mark()
evaluate_after_events(evaluations)

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms', 'noticed', 'idle_ms', 'idle_then', 'idle_notice_ms', 'hold_ms', 'hold_then',
  'hold_notice_ms', 'privacy', 'details_until', 'hand_over_ms')
local ttl, linger, noticed = tonumber(policy[1] or 0), tonumber(policy[2] or 0), policy[3]
local idle_ms, idle_then, hold_ms, hold_then = tonumber(policy[4]), policy[5], tonumber(policy[7]), policy[8]
-- From this on the answer warns that the seat can be lost.
local idle_warned_from = idle_ms and (idle_then == 'count' and math.huge or idle_ms - tonumber(policy[6]))
local hold_notice_ms = hold_ms and tonumber(policy[9])

local n = heartbeat_count
local rest = sample and rest_of(leases, ARGV[id_of + 1], records) or nil
local marks = ttl > 0 and extend(leases, ttl, linger, id_of, n) or string.rep('0', n)

-- A record of which the user was last active `at`, or of which that is not known (''). Whoever works on something is active. Little of the
-- record is read, because this comes with many heartbeats.
local PART = '[^\1]*\1'
local UP_TO_ACTIVE = '^(' .. string.rep(PART, LABEL) .. ')([^\1]*)(\1' .. string.rep(PART, GIVEN - ACTIVITIES) .. ')[^\1]*\1([^\1]*)'
local function with_active(packed, at)
  local before, activities, between, why = string.match(packed .. string.rep('\1', WHY), UP_TO_ACTIVE)
  if activities ~= '' and activities ~= '[]' then
    at = int(now)
  end
  return (string.gsub(before .. activities .. between .. at .. '\1' .. why, '\1+$', ''))
end

if detail_count > 0 then
  local ids = {}
  for detail = 1, detail_count do
    ids[detail] = ARGV[id_of + ARGV[heartbeat_of + detail]]
  end
  local packed_of = packed_by_id(records, ids)
  keep_records(records, math.max(ttl, longest_ttl), margin)
  for detail = 1, detail_count do
    local heartbeat = tonumber(ARGV[heartbeat_of + detail])
    local new_label, new_activities, reads = ARGV[label_of + detail], ARGV[activities_of + detail], ARGV[read_of + detail] == '1'
    local label, activities, known, is_changed = '', '', false, false
    if string.sub(marks, heartbeat, heartbeat) == '1' then
      label, activities, known, is_changed = keep_details(records, packed_of, ids[detail], policy[10], reads, new_label, new_activities)
    end
    if is_changed then
      note_details(config, policy[11])
    end
    add_detail(label, activities, known)
  end
end

local index
local function opened()
  index = index or open_index(config, who, seats, holders, lent, idle, held)
  return index
end

local pool = { leases = leases, evicted = evicted, records = records, events = events, due = due, name = name }
-- What has ended here: by the number of its heartbeat, and by its id, because a lease may stand here twice.
local ended, ended_leases = {}, {}

local function end_at_heartbeat(heartbeat, id, holder, tenant, reason)
  evict(pool, index, id, holder, tenant, reason)
  ended_leases[id] = reason == 'idle' and 'i' or 'h'
  ended[heartbeat] = ended_leases[id]
end

-- When the user of a seat was last active: of one that leases share, the user of the most active of them; nil if one of them is not known.
local function seat_active_at(id, holder, at)
  if not index.per_holder or holder == '' then
    return at
  end
  local entries = redis.call('ZRANGEBYLEX', holders, '[' .. holder .. '\1c\1', '(' .. holder .. '\1c\2', 'LIMIT', 0, SHARED + 1)
  for i = 1, #entries do
    local other = string.sub(entries[i], -22)
    local record = other ~= id and read_record(records, other)
    local other_at = other == id and at or record and tonumber(record[ACTIVE])
    if not other_at or #entries > SHARED then
      return nil
    end
    at = math.max(at, other_at)
  end
  return at
end

-- A report that changes what is decided, or what is known. Returns the time until the seat can be lost, if it is to be warned.
local function look_at_use(heartbeat, id, reported)
  if not opened() then
    return
  end
  local kind, tenant, holder, at, unused_for, is_idle = report_use(index, records, events, id, reported)
  if not unused_for or kind == 'n' or unused_for < idle_warned_from then
    return
  end
  local since = seat_active_at(id, holder, at)
  local left = since and since + idle_ms - now
  if left and left <= 0 and is_idle and idle_then == 'end' then
    end_at_heartbeat(heartbeat, id, holder, tenant, 'idle')
  elseif left and now - since >= idle_warned_from then
    return math.max(left, 0)
  end
end

-- The same of a lease that has been held for long, or nearly.
local function look_at_hold(heartbeat, id)
  local kind, fence, tenant, holder
  if opened() then
    kind, fence, tenant, holder = seat_of(index, id)
  end
  if not kind or kind == 'n' then
    return
  end
  -- It may have begun before the policy did.
  if redis.call('ZADD', held, 'NX', fence, id) == 1 then
    undo_by('ZREM', held, id)
  end
  -- Nobody is ended who could not be warned.
  local left = math.max(ends_at(math.floor(tonumber(fence) / 1000) + hold_ms, hold_notice_ms), generation + hold_notice_ms) - now
  if left <= 0 and hold_then == 'end' then
    end_at_heartbeat(heartbeat, id, holder, tenant, 'max_hold')
  elseif left <= hold_notice_ms then
    return math.max(left, 0)
  end
end

local function lives(heartbeat)
  return string.sub(marks, heartbeat, heartbeat) == '1'
end

-- The last activity of those that are idle by their last reports. Without any, this is all that it costs.
local since_of = idle_ms and redis.call('EXISTS', idle) == 1 and redis.call('ZMSCORE', idle, unpack(ARGV, id_of + 1, id_of + n)) or {}
local is_reported = {}
-- Reports by which nothing is decided: when the users of these leases were last active. The later report counts, where a lease has two.
local quiet, has_reported = {}, {}
local decides_from = idle_ms and math.min(idle_ms, idle_warned_from)
for report = 1, report_count do
  local i, unused_for, looks_at = tonumber(ARGV[place_of + report]), tonumber(ARGV[unused_for_of + report]), ARGV[looks_at_of + report]
  local id = ARGV[id_of + i]
  local left_by_idle, left_by_hold
  if lives(i) and not ended_leases[id] then
    if idle_ms and looks_at ~= 'hold' then
      is_reported[i] = true
      local is_again, since = has_reported[id], tonumber(since_of[i])
      has_reported[id], quiet[id] = true, nil
      local is_same = not is_again and since and unused_for and unused_for >= idle_ms and math.abs(now - unused_for - since) <= 1000
      if is_same and idle_then == 'yield' and opened() and not index.per_holder then
        -- It is idle as it was.
        left_by_idle = 0
      elseif not is_again and not since and (not unused_for or unused_for < decides_from) then
        quiet[id] = unused_for and int(now - unused_for) or ''
      elseif not (is_same and idle_then == 'count') then
        left_by_idle = look_at_use(i, id, unused_for)
      end
    end
    if hold_ms and looks_at ~= 'use' and not ended[i] then
      left_by_hold = look_at_hold(i, id)
    end
  end
  ended[i] = ended[i] or ended_leases[id]
  if not ended[i] and (left_by_idle or left_by_hold) then
    local by_idle = left_by_idle and left_by_idle <= (left_by_hold or math.huge)
    local heartbeat, within = i, by_idle and left_by_idle or left_by_hold
    local reason, how = by_idle and 'idle' or 'max_hold', by_idle and idle_then or hold_then
    add_warning(heartbeat, within, reason, how)
  end
end
local quiet_ids = {}
for id in pairs(quiet) do
  quiet_ids[#quiet_ids + 1] = id
end
if #quiet_ids > 0 then
  local packed, written, back = redis.call('HMGET', records, unpack(quiet_ids)), {}, { 'HSET', records }
  for i = 1, #quiet_ids do
    if packed[i] then
      written[#written + 1], written[#written + 2] = quiet_ids[i], with_active(packed[i], quiet[quiet_ids[i]])
      back[#back + 1], back[#back + 2] = quiet_ids[i], packed[i]
    end
  end
  if #written > 0 then
    redis.call('HSET', records, unpack(written))
    undo_by(unpack(back))
  end
end
-- Those of whom nothing new is said are active, whatever another node heard before.
for i, since in pairs(since_of) do
  if since and not is_reported[i] and lives(i) and not ended_leases[ARGV[id_of + i]] then
    look_at_use(i, ARGV[id_of + i], 0)
  end
end

if noticed then
  marks = leave_to_resume(marks, noticed, id_of, n)
end
if next(ended) then
  marks = string.gsub(marks, '()1', function(place)
    return ended[place]
  end)
end
marks = mark_unread(marks, policy[11])
hand_on({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }, index, config)
local requests, requests_rest = 0, 0
if policy[12] then
  requests, requests_rest = open_requests(line, tonumber(policy[12]))
end
return answer('renewed', { rest = rest, ttl = ttl, marks = marks, requests = requests, requests_rest = requests_rest })
