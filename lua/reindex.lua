-- Takes some of a pool's live leases into its index, from their records: of a pool whose index is being made for rules to come,
-- or where it is not whole, so that nothing is granted until it is.
--
-- Joined behind prelude, record, schedule, seats.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   who      HASH  lease id -> kind of seat, fence, tenant and holder
--   seats    HASH  seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET  holder, kind, tenant, fence and lease id; in this order
--   lent     HASH  seat-milliseconds of overdraft, by day
--   idle     ZSET  lease id -> when its user was last active, ms; only of those that nobody uses
--   held     ZSET  lease id -> fence
--   records  HASH  lease id -> what is known of the lease
--
-- Arguments:
--   cursor  count  0 to begin, then that of the call before
--   limit   count  about how many leases to read
--
-- Returns:
--   indexed   those that it came across are in the index
--   no_index  the pool needs none
--
-- With:
--   next  count  the cursor of the next call; 0 after the last leases

local index = open_index(config, who, seats, holders, lent, idle, held)
if not index then
  return answer('no_index')
end

mark()
if index.incomplete then
  undo_fields(config, 'indexing')
  redis.call('HSET', config, 'indexing', int(now + INDEXING_MS))
end
-- An index that knows more leases than there are is not ours any more.
if redis.call('HLEN', index.who) > redis.call('ZCARD', leases) then
  redis.call('UNLINK', index.who, index.seats, index.holders, idle, held)
end
-- A scan comes across all that are there all the time, however they are renewed meanwhile; by rank or score some would move
-- past it. Those that come are taken into the index as they start.
local scanned = redis.call('ZSCAN', leases, int(cursor), 'COUNT', limit)
local found = scanned[2]
for i = 1, #found, 2 do
  local id = found[i]
  if redis.call('HEXISTS', index.who, id) == 0 then
    local record = read_record(records, id) or { '0', '', '', '', '' }
    seat_taken(index, now, id, record[SEAT] ~= '' and record[SEAT] or 'c', record[FENCE], record[TENANT], record[HOLDER])
  end
end
return answer('indexed', { next = scanned[1] })
