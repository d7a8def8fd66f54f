-- Makes tombstones of the records of expired and evicted leases: that and when they ended.
--
-- Joined behind prelude, record.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   expired  ZSET  lease id -> end, ms; not yet in a tombstone
--   evicted  ZSET  lease id -> end, ms; not yet in a tombstone
--   records  HASH  lease id -> what is known of the lease
--   each lease:
--     tombstone(id)  HASH  how it ended
--
-- Arguments:
--   keep  ms  how long the tombstones stay: as long as a token could be shown
--   each lease:  at most 1000, each once
--     id  lease  the lease
--
-- Returns:
--   stamped  the tombstones are there
--
-- With:
--   each lease:
--     how   expired|evicted|idle|max_hold|handed_over?  how it ended, and what for if a policy did that; nothing for one that was resumed or
--                                                       stamped meanwhile
--     held  ms                                          how long it was held

redis.call('PERSIST', clock)
mark()

-- When those have ended that are in a set of ends, by their numbers; false for others. Takes them out of it.
local function take_ends(set)
  local ends = redis.call('ZMSCORE', set, unpack(ARGV, id_of + 1, id_of + lease_count))
  local ids, back = {}, { 'ZADD', set }
  for i = 1, lease_count do
    if ends[i] then
      ids[#ids + 1] = ARGV[id_of + i]
      back[#back + 1], back[#back + 2] = ends[i], ARGV[id_of + i]
    end
  end
  if #ids > 0 then
    redis.call('ZREM', set, unpack(ids))
    undo_by(unpack(back))
  end
  return ends
end

local expired_at, evicted_at = take_ends(expired), take_ends(evicted)
local packed, known = redis.call('HMGET', records, unpack(ARGV, id_of + 1, id_of + lease_count)), {}
for i = 1, lease_count do
  local ended, tombstone, how, held = evicted_at[i] or expired_at[i], KEYS[tombstone_of + i], '', 0
  -- One that was resumed meanwhile is left alone.
  if ended then
    local record = packed[i] and parts_of_record(packed[i])
    local why = evicted_at[i] and record and record[WHY] or ''
    how = evicted_at[i] and 'evicted' or 'expired'
    local end_parts = { 'reason', how, 'ended', int(tonumber(ended)) }
    if why ~= '' then
      how, end_parts[5], end_parts[6] = why, 'message', why
    end
    if record then
      known[#known + 1], known[#known + 2] = ARGV[id_of + i], packed[i]
      held = math.max(tonumber(ended) - tonumber(record[STARTED]), 0)
      -- Label and activities stay for a resume; who it was stands in the token and in the history.
      if record[LABEL] ~= '' or record[ACTIVITIES] ~= '' then
        for _, part in ipairs({ 'label', record[LABEL], 'activities', record[ACTIVITIES] }) do
          end_parts[#end_parts + 1] = part
        end
      end
    end
    undo_by('DEL', tombstone)
    redis.call('HSET', tombstone, unpack(end_parts))
    redis.call('PEXPIRE', tombstone, keep)
  end
  add_lease(how, held)
end
forget_records(records, known, keep)
return answer('stamped')
