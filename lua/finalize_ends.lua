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
--   each lease:  at most 1000
--     id  lease  the lease
--
-- Returns:
--   stamped  the tombstones are there
--
-- With:
--   each lease:
--     how   expired|evicted?  how it ended; nothing for one that was resumed or stamped meanwhile
--     held  ms                how long it was held

redis.call('PERSIST', clock)
mark()

for i = 1, lease_count do
  local id, tombstone = ARGV[id_of + i], KEYS[tombstone_of + i]
  local taken = redis.call('ZSCORE', evicted, id)
  local ended = taken or redis.call('ZSCORE', expired, id)
  local how, held = '', 0
  if ended then
    how = taken and 'evicted' or 'expired'
    local record = read_record(records, id)
    undo_member(expired, id)
    redis.call('ZREM', expired, id)
    undo_member(evicted, id)
    redis.call('ZREM', evicted, id)
    forget_record(records, id, record, keep)
    undo_by('DEL', tombstone)
    redis.call('HSET', tombstone, 'reason', how, 'ended', int(tonumber(ended)))
    if record then
      held = math.max(tonumber(ended) - tonumber(record[STARTED]), 0)
      -- Label and activities stay for a resume; who it was stands in the token and in the history.
      if record[LABEL] ~= '' or record[ACTIVITIES] ~= '' then
        redis.call('HSET', tombstone, 'label', record[LABEL], 'activities', record[ACTIVITIES])
      end
    end
    redis.call('PEXPIRE', tombstone, keep)
  end
  add_lease(how, held)
end
return answer('stamped')
