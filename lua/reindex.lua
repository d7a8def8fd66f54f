-- Takes live leases into the index of a pool whose rules need one, from their records. After a rule was put
-- that needs an index, nothing is granted until all live leases are in it.
--
-- KEYS[1]  clock    HASH  the bucket's clock
-- KEYS[2]  config   HASH  the pool's policy
-- KEYS[3]  leases   ZSET  lease id -> expiry, ms
-- KEYS[4]  who      HASH  lease id -> kind of seat, fence, tenant and holder
-- KEYS[5]  seats    HASH  seats in use: all, overdraft, named, t:<tenant>
-- KEYS[6]  holders  ZSET  holder, kind, tenant, fence and lease id; in this order
-- KEYS[7]  lent     HASH  seat-milliseconds of overdraft, by day
-- KEYS[8]  queue    ZSET  ticket -> order of arrival
-- KEYS[9]  records  HASH  lease id -> what is known of the lease
--
-- ARGV[1..] ids      at most 200
--
-- Returns { status, seq, now_ms }
--   indexed   those that are live are in the index
--   unopened  the bucket has no clock

local config, leases, records = KEYS[2], KEYS[3], KEYS[9]
local index = open_index(config, KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
mark()

if index then
  -- An index that knows more leases than there are is not ours any more.
  if redis.call('HLEN', index.who) > redis.call('ZCARD', leases) then
    redis.call('UNLINK', index.who, index.seats, index.holders)
  end
  for i = 1, #ARGV do
    local id = ARGV[i]
    if redis.call('ZSCORE', leases, id) and redis.call('HEXISTS', index.who, id) == 0 then
      local record = read_record(records, id) or { '0', '', '', '', '' }
      seat_taken(index, now, id, record[SEAT] ~= '' and record[SEAT] or 'c', record[FENCE], record[TENANT], record[HOLDER])
    end
  end
end
return { 'indexed', int(seq), int(now) }
