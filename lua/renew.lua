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
-- Joined behind prelude, record, details, heartbeats.
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
--     marks  text       a character for each heartbeat: 1 renewed, 2 renewed, and its record may say more than its token,
--                       0 left to resume.lua
--   each detail:
--     label       text?  as it is now
--     activities  json?  as they are now
--     known       flag   the lease was renewed, and its record is there; if not, it is left to resume.lua

-- A write that takes no memory comes first, so that a full memory ends nobody.
redis.call('PERSIST', clock)
mark()

-- The records of a pool that details are about, from the first of these on, by lease id.
local function records_of_details(records, first, pool)
  local ids = {}
  for detail = first, detail_count do
    if tonumber(ARGV[pool_of + detail]) ~= pool then
      break
    end
    ids[#ids + 1] = ARGV[id_of + ARGV[heartbeat_of + detail]]
  end
  return packed_by_id(records, ids)
end

local sampled_pool = sample > 0 and tonumber(ARGV[pool_of + sample])
local all_marks, keep_for, is_private, details_until, before, rest = {}, {}, {}, {}, id_of, nil

for pool = 1, pool_count do
  local leases, n, ttl, linger, noticed = KEYS[leases_of + pool], tonumber(ARGV[heartbeats_of + pool]), 0, 0, nil
  if KEYS[clock_of + pool] ~= clock and enter(KEYS[clock_of + pool]) then
    mark()
  end
  if generation then
    local policy = redis.call('HMGET', KEYS[config_of + pool], 'ttl_ms', 'linger_ms', 'noticed', 'privacy', 'details_until')
    ttl, linger, noticed, is_private[pool] = tonumber(policy[1] or 0), tonumber(policy[2] or 0), policy[3], policy[4]
    details_until[pool] = policy[5]
  end
  if pool == sampled_pool then
    rest = rest_of(leases, ARGV[id_of + ARGV[heartbeat_of + sample]], KEYS[records_of + sample])
  end
  local marks = ttl > 0 and extend(leases, ttl, linger, before, n) or string.rep('0', n)
  if noticed then
    marks = leave_to_resume(marks, noticed, before, n)
  end
  marks = mark_unread(marks, details_until[pool])
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
      packed_of = records_of_details(records, detail, pool)
    end
    local id, label, activities, known, is_changed = ARGV[id_of + heartbeat], '', '', false, false
    if string.sub(marks, heartbeat, heartbeat) ~= '0' then
      label, activities, known, is_changed = keep_details(records, packed_of, id, is_private[pool], reads, new_label, new_activities)
    end
    if is_changed then
      note_details(KEYS[config_of + pool], details_until[pool])
    end
    add_detail(label, activities, known)
  end
end
return answer('renewed', rest and { rest = rest })
