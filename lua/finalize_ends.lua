-- Makes tombstones of the records of expired and evicted leases: that and when they ended.
--
-- KEYS[1]    clock      HASH  the bucket's clock
-- KEYS[2]    expired    ZSET  lease id -> end, ms; not yet in a tombstone
-- KEYS[3]    evicted    ZSET  lease id -> end, ms; not yet in a tombstone
-- KEYS[4]    records    HASH  lease id -> what is known of the lease
-- KEYS[5..]  tombstone  HASH  one for each lease: how it ended
--
-- ARGV[1]    keep_ms  how long the tombstones stay: as long as a token could be shown
-- ARGV[2..]  ids      at most 1000
--
-- Returns { 'stamped', seq, now_ms, then for each id a word and held_ms }
--   expired, evicted  how it ended, and how long it was held; empty and 0 for those that were resumed or stamped meanwhile
--   unopened          the bucket has no clock; only three fields

redis.call('PERSIST', clock)
mark()

local expired, evicted, records, keep_ms = KEYS[2], KEYS[3], KEYS[4], ARGV[1]
local reply = { 'stamped', int(seq), int(now) }
for i = 2, #ARGV do
  local id, tombstone = ARGV[i], KEYS[i + 3]
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
    forget_record(records, id, record, keep_ms)
    undo_by('DEL', tombstone)
    redis.call('HSET', tombstone, 'reason', how, 'ended', int(tonumber(ended)))
    if record then
      held = math.max(tonumber(ended) - tonumber(record[STARTED]), 0)
      -- Label and activities stay for a resume; who it was stands in the token and in the history.
      if record[LABEL] ~= '' or record[ACTIVITIES] ~= '' then
        redis.call('HSET', tombstone, 'label', record[LABEL], 'activities', record[ACTIVITIES])
      end
    end
    redis.call('PEXPIRE', tombstone, keep_ms)
  end
  reply[#reply + 1], reply[#reply + 2] = how, int(held)
end
return reply
