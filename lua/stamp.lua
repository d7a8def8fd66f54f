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
-- Returns { 'stamped', seq, now_ms, then for each id a word and held_ms }
--   expired, evicted  how it ended, and how long it was held; empty and 0 for those that were resumed or stamped meanwhile
--   unopened          the bucket has no clock; only three fields

redis.call('PERSIST', clock)
mark()

local expired, evicted, keep_ms = KEYS[2], KEYS[3], ARGV[1]
local reply = { 'stamped', int(seq), int(now) }
for i = 2, #ARGV do
  local id, record = ARGV[i], KEYS[i + 2]
  local taken = redis.call('ZSCORE', evicted, id)
  local ended = taken or redis.call('ZSCORE', expired, id)
  local how, held = '', 0
  if ended then
    how = taken and 'evicted' or 'expired'
    held = math.max(tonumber(ended) - tonumber(redis.call('HGET', record, 'started') or ended), 0)
    redis.call('ZREM', expired, id)
    redis.call('ZREM', evicted, id)
    -- Label and activities stay for a resume; who it was stands in the token and in the history.
    redis.call('HDEL', record, 'holder', 'tenant', 'platform', 'started', 'fence', 'beat', 'left', 'seat')
    redis.call('HSET', record, 'reason', how, 'ended', int(tonumber(ended)))
    redis.call('PEXPIRE', record, keep_ms)
  end
  reply[#reply + 1], reply[#reply + 2] = how, int(held)
end
return reply
