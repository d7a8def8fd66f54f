-- Takes some of a pool's live leases into its index, from their records: of a pool whose index is being made for rules to come,
-- or where it is not whole, so that nothing is granted until it is.
--
-- KEYS[1]  clock    HASH  the bucket's clock
-- KEYS[2]  config   HASH  the pool's policy
-- KEYS[3]  leases   ZSET  lease id -> expiry, ms
-- KEYS[4]  who      HASH  lease id -> kind of seat, fence, tenant and holder
-- KEYS[5]  seats    HASH  seats in use: all, overdraft, named, t:<tenant>
-- KEYS[6]  holders  ZSET  holder, kind, tenant, fence and lease id; in this order
-- KEYS[7]  lent     HASH  seat-milliseconds of overdraft, by day
-- KEYS[8]  records  HASH  lease id -> what is known of the lease
--
-- ARGV[1]  cursor  0 to begin, then that of the call before
-- ARGV[2]  limit   about so many leases
--
-- Returns { status, seq, now_ms, cursor }
--   indexed   those that it came across are in the index; cursor is 0 after the last ones
--   no_index  the pool needs none
--   unopened  the bucket has no clock; only three fields

local config, leases, records = KEYS[2], KEYS[3], KEYS[8]
local index = open_index(config, KEYS[4], KEYS[5], KEYS[6], KEYS[7])
if not index then
  return { 'no_index', int(seq), int(now), '0' }
end

mark()
if index.incomplete then
  undo_fields(config, 'indexing')
  redis.call('HSET', config, 'indexing', int(now + INDEXING_MS))
end
-- An index that knows more leases than there are is not ours any more.
if redis.call('HLEN', index.who) > redis.call('ZCARD', leases) then
  redis.call('UNLINK', index.who, index.seats, index.holders)
end
-- A scan comes across all that are there all the time, however they are renewed meanwhile; by rank or score some would move
-- past it. Those that come are taken into the index as they start.
local scanned = redis.call('ZSCAN', leases, ARGV[1], 'COUNT', ARGV[2])
local found = scanned[2]
for i = 1, #found, 2 do
  local id = found[i]
  if redis.call('HEXISTS', index.who, id) == 0 then
    local record = read_record(records, id) or { '0', '', '', '', '' }
    seat_taken(index, now, id, record[SEAT] ~= '' and record[SEAT] or 'c', record[FENCE], record[TENANT], record[HOLDER])
  end
end
return { 'indexed', int(seq), int(now), scanned[1] }
