-- Extends live leases of one pool that has `idle` or `max_hold`, many in one call, as long as nothing is decided by what they report: their
-- users are active, or idle as they were. It is as small as renew.lua, because nearly every heartbeat is like that. The others are left to
-- renew_by_rules.lua.
--
-- Joined behind prelude, record, heartbeats, activity.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   records  HASH  lease id -> what is known of the lease
--   idle     ZSET  lease id -> when its user was last active, ms; only of those that nobody uses
--
-- Arguments:
--   margin  ms    how long the records outlive leases that are not renewed
--   sample  flag  to look at the first heartbeat: how late it is
--   each heartbeat:  at most 256
--     id  lease  the lease
--   each report:  of those heartbeats that say something new. Of all others the users are active, or nothing is known of them, as before
--     place       count  number of its heartbeat, from 1
--     unused_for  ms?    for how long its user has done nothing, as far as its holder reports it
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
--   marks  text     a character for each heartbeat: 1 renewed, y renewed, and idle as it was: its seat can go to somebody at any instant,
--                   0 left to resume.lua, 2 left to renew_by_rules.lua
--   each detail:
--     label       text?  as it is now
--     activities  json?  as they are now
--     known       flag   the lease was renewed, and its record is there; if not, it is left to resume.lua

-- A write that takes no memory comes first, so that a full memory ends nobody.
redis.call('PERSIST', clock)
mark()

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms', 'noticed', 'privacy', 'idle_ms', 'idle_then', 'idle_notice_ms', 'seat_per')
local ttl, linger, noticed = tonumber(policy[1] or 0), tonumber(policy[2] or 0), policy[3]
local idle_ms, idle_then, is_shared = tonumber(policy[5]), policy[6], policy[8] == 'holder'

local n = heartbeat_count
local rest = sample and rest_of(leases, ARGV[id_of + 1], records) or nil
local marks = ttl > 0 and extend(leases, ttl, linger, id_of, n) or string.rep('0', n)

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
    local label, activities, known = '', '', false
    if string.sub(marks, heartbeat, heartbeat) == '1' then
      label, activities, known = keep_details(records, packed_of, ids[detail], policy[4], reads, new_label, new_activities)
    end
    add_detail(label, activities, known)
  end
end

-- The last activity of those that are idle by their last reports. Without any, this is all that it costs.
local since_of = idle_ms and redis.call('EXISTS', idle) == 1 and redis.call('ZMSCORE', idle, unpack(ARGV, id_of + 1, id_of + n)) or {}
local changed, is_reported = {}, {}
-- Reports by which nothing is decided: the ids, and when their users were last active.
local active_ids, active_at = {}, {}
if idle_ms then
  local decides_from = idle_then == 'count' and idle_ms or math.min(idle_ms, idle_ms - tonumber(policy[7]))
  for report = 1, report_count do
    local i, unused_for = tonumber(ARGV[place_of + report]), tonumber(ARGV[unused_for_of + report])
    local since = tonumber(since_of[i])
    is_reported[i] = true
    local is_same = since and unused_for and unused_for >= idle_ms and math.abs(now - unused_for - since) <= 1000
    if is_same and (idle_then == 'count' or (idle_then == 'yield' and not is_shared)) then
      changed[i] = idle_then == 'yield' and 'y' or nil
    elseif not since and (not unused_for or unused_for < decides_from) then
      if string.sub(marks, i, i) == '1' then
        active_ids[#active_ids + 1], active_at[#active_at + 1] = ARGV[id_of + i], unused_for and int(now - unused_for) or ''
      end
    else
      changed[i] = '2'
    end
  end
  -- Those of whom nothing new is said are active, whatever another node heard before.
  for i, since in pairs(since_of) do
    if since and not is_reported[i] then
      changed[i] = '2'
    end
  end
end
if #active_ids > 0 then
  note_active(records, active_ids, active_at)
end

if noticed then
  marks = leave_to_resume(marks, noticed, id_of, n)
end
if next(changed) then
  marks = string.gsub(marks, '()1', changed)
end
return answer('renewed', { rest = rest, ttl = ttl, marks = marks })
