-- Extends live leases, many in one call. What is not that simple is left to resume.lua.
--
-- The only script that may span buckets, because a call costs Redis as much as several heartbeats in it. In a cluster the node
-- sends those of one bucket, whose keys are in one slot.
--
-- Two pools, three heartbeats, and one of them with details:
--   keys       clock 1, clock 2, config 1, config 2, leases 1, leases 2, records 2
--   arguments  2 pools, 1 detail, margin, sample; 1, 2 heartbeats; then of the detail pool 2, heartbeat 3, label, activities, read;
--              id 1, id 2, id 3
--   reply      renewed, seq, now, rest; seq, now, ttl, '1'; seq, now, ttl, '11'; label, activities, 1
--
-- Joined behind prelude, record.
--
-- Keys:
--   each pool:  those of one bucket together
--     clock   HASH  the clock of its bucket
--     config  HASH  the pool's policy
--     leases  ZSET  lease id -> expiry, ms
--   each detail, of a pool:  pool by pool
--     records  HASH  lease id -> what is known of the lease
--
-- Arguments:
--   margin  ms     how long the records outlive leases that are not renewed
--   sample  count  number of the detail that is looked at: how late its heartbeat is; 0 for none
--   each pool:
--     heartbeats  count  how many of them are of this pool
--   each detail:
--     pool        count   number of its pool, from 1
--     heartbeat   count   number of its heartbeat, from 1
--     label       change  the new one
--     activities  change  the new JSON array
--     read        flag    to return both as they are then; else they are empty, and only the TTL of the records is set
--   each heartbeat:  pool by pool, at most 1000
--     id  lease  the lease
--
-- Returns:
--   renewed  those that live
--
-- With:
--   rest  number?  how long the sampled lease would have lived without this heartbeat, ms; negative if it did not. Nothing where
--                  it is not known, or says nothing about the heartbeat because the lease was left
--   each pool:
--     seq    count      number of this call in the order of its bucket
--     now    timestamp  time in its bucket
--     ttl    ms         of the pool; 0 where there is no such pool, or where a bucket that is not the first has no clock
--     marks  text       a character for each heartbeat: 1 renewed, 0 left to resume.lua
--   each detail:
--     label       text?  as it is now
--     activities  json?  as they are now
--     known       flag   the lease was renewed, and its record is there; if not, it is left to resume.lua

-- A write that takes no memory comes first, so that a full memory ends nobody.
redis.call('PERSIST', clock)
mark()

-- Extends those of the n leases behind ARGV[before] that live. Returns a character for each: 1 extended, 0 not.
--
-- Whoever is in `leases` lives, but for those that ended in the last second and that no sweep has taken away. These
-- are few and come first, so they are looked for, and not the score of each lease: that would double the cost.
local function extend(leases, ttl, linger, before, n)
  local from, expires_at = live_from(lease_period(ttl, linger)), int(now + ttl)
  local dead = redis.call('ZRANGE', leases, '-inf', int(from), 'BYSCORE', 'LIMIT', 0, 64)
  local ended, scores = {}, nil
  for i = 1, #dead do
    ended[dead[i]] = true
  end
  if #dead == 64 then
    scores = redis.call('ZMSCORE', leases, unpack(ARGV, before + 1, before + n))
    for i = 1, n do
      ended[ARGV[before + i]] = not scores[i] or tonumber(scores[i]) <= from
    end
  end
  local beats, size = {}, 0
  for i = before + 1, before + n do
    if not ended[ARGV[i]] then
      beats[size + 1], beats[size + 2] = expires_at, ARGV[i]
      size = size + 2
    end
  end
  -- GT: a shorter TTL does not take back what was promised before; resume.lua answers the end of that.
  if size > 0 and redis.call('ZADD', leases, 'XX', 'GT', 'CH', unpack(beats)) == n then
    return string.rep('1', n)
  end
  -- An extended lease has exactly this score, even if it is listed twice or has beaten in the same millisecond.
  scores = redis.call('ZMSCORE', leases, unpack(ARGV, before + 1, before + n))
  local marks = {}
  for i = 1, n do
    marks[i] = scores[i] and tonumber(scores[i]) == now + ttl and '1' or '0'
  end
  return table.concat(marks)
end

-- Turns the marks of those for which an operator left something: resume.lua takes it. They have been extended.
local function leave_to_resume(marks, noticed, before, n)
  local is_noticed, left = {}, {}
  for id in string.gmatch(noticed, '%S+') do
    is_noticed[id] = true
  end
  for i = 1, n do
    left[i] = is_noticed[ARGV[before + i]] and '0' or string.sub(marks, i, i)
  end
  return table.concat(left)
end

-- How long the lease with this id would live without its heartbeat; nil if that is not known.
local function rest_of(leases, id, records)
  local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
  local record = score > 0 and read_record(records, id)
  if score > 0 and not (record and tonumber(record[LEFT]) == score) then
    return score - now
  end
end

-- The records of a pool that details are about, from the first of these on, by lease id.
local function packed_by_id(records, first, pool)
  local ids, by_id = {}, {}
  for detail = first, detail_count do
    if tonumber(ARGV[pool_of + detail]) ~= pool then
      break
    end
    ids[#ids + 1] = ARGV[id_of + ARGV[heartbeat_of + detail]]
  end
  local packed = redis.call('HMGET', records, unpack(ids))
  for i = 1, #ids do
    by_id[ids[i]] = packed[i] or nil
  end
  return by_id
end

local sampled_pool = sample > 0 and tonumber(ARGV[pool_of + sample])
local all_marks, keep_for, is_private, before, rest = {}, {}, {}, id_of, nil

for pool = 1, pool_count do
  local leases, n, ttl, linger, noticed = KEYS[leases_of + pool], tonumber(ARGV[heartbeats_of + pool]), 0, 0, nil
  if KEYS[clock_of + pool] ~= clock and enter(KEYS[clock_of + pool]) then
    mark()
  end
  if generation then
    local policy = redis.call('HMGET', KEYS[config_of + pool], 'ttl_ms', 'linger_ms', 'noticed', 'privacy')
    ttl, linger, noticed, is_private[pool] = tonumber(policy[1] or 0), tonumber(policy[2] or 0), policy[3], policy[4]
  end
  if pool == sampled_pool then
    rest = rest_of(leases, ARGV[id_of + ARGV[heartbeat_of + sample]], KEYS[records_of + sample])
  end
  local marks = ttl > 0 and extend(leases, ttl, linger, before, n) or string.rep('0', n)
  if noticed then
    marks = leave_to_resume(marks, noticed, before, n)
  end
  add_pool(seq, now, ttl, marks)
  all_marks[pool], keep_for[pool], before = marks, math.max(ttl, longest_ttl), before + n
end

if detail_count > 0 then
  local marks, last, packed_of = table.concat(all_marks), 0, nil
  for detail = 1, detail_count do
    local pool, heartbeat, records = tonumber(ARGV[pool_of + detail]), tonumber(ARGV[heartbeat_of + detail]), KEYS[records_of + detail]
    local new_label, new_activities, reads = ARGV[label_of + detail], ARGV[activities_of + detail], ARGV[read_of + detail] == '1'
    if pool ~= last then
      last = pool
      keep_records(records, keep_for[pool], margin)
      packed_of = packed_by_id(records, detail, pool)
    end
    local id, record = ARGV[id_of + heartbeat], nil
    local known = string.sub(marks, heartbeat, heartbeat) == '1' and packed_of[id] ~= nil
    if known and reads then
      record = parts_of_record(packed_of[id])
    end
    -- In a pool that keeps no names a label is one too, and an activity may hold one.
    if record and new_label .. new_activities ~= '' and not is_private[pool] then
      record[LABEL] = new_label ~= '' and string.sub(new_label, 2) or record[LABEL]
      record[ACTIVITIES] = new_activities ~= '' and string.sub(new_activities, 2) or record[ACTIVITIES]
      packed_of[id] = write_record(records, id, record)
    end
    local label, activities = record and record[LABEL] or '', record and record[ACTIVITIES] or ''
    add_detail(label, activities, known)
  end
end
return answer('renewed', rest and { rest = rest })
