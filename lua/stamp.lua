-- Writes into the records of expired and evicted leases that and when they ended.
--
-- KEYS[1]    clock    HASH  the bucket's clock
-- KEYS[2]    expired  ZSET  lease id -> end, ms; not yet in the record
-- KEYS[3]    evicted  ZSET  lease id -> end, ms; not yet in the record
-- KEYS[4..]  record   HASH  one for each lease; its tombstone afterwards
--
-- ARGV[1]    keep_ms  how long the tombstones stay: as long as a token could be shown
-- ARGV[2..]  ids      at most 1000
--
-- Returns { status, seq, now_ms }
--   stamped   those that were resumed or stamped meanwhile were left alone
--   unopened  the bucket has no clock

redis.call('PERSIST', clock)
mark()

local expired, evicted, keep_ms = KEYS[2], KEYS[3], ARGV[1]
for i = 2, #ARGV do
  local id, record = ARGV[i], KEYS[i + 2]
  local taken = redis.call('ZSCORE', evicted, id)
  local ended = taken or redis.call('ZSCORE', expired, id)
  if ended then
    redis.call('ZREM', expired, id)
    redis.call('ZREM', evicted, id)
    -- Label and activities stay for a resume; who it was stands in the token and in the history.
    redis.call('HDEL', record, 'holder', 'tenant', 'platform', 'started', 'fence', 'beat', 'left', 'seat')
    redis.call('HSET', record, 'reason', taken and 'evicted' or 'expired', 'ended', int(tonumber(ended)))
    redis.call('PEXPIRE', record, keep_ms)
  end
end
return { 'stamped', int(seq), int(now) }
