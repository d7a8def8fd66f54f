-- Frees a seat now, for good. Releasing what has ended is a success too.
--
-- KEYS[1]   clock      HASH    the bucket's clock
-- KEYS[2]   config     HASH    the pool's policy
-- KEYS[3]   leases     ZSET    lease id -> expiry, ms
-- KEYS[4]   expired    ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[5]   events     STREAM  the pool's history
-- KEYS[6]   records    HASH    lease id -> what is known of the lease
-- KEYS[7]   who        HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[8]   seats      HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[9]   holders    ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[10]  lent       HASH    seat-milliseconds of overdraft, by day
-- KEYS[11]  queue      ZSET    ticket -> order of arrival
-- KEYS[12]  evicted    ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[13]  tombstone  HASH    how the lease ended
--
-- ARGV[1]  id       id of the lease
-- ARGV[2]  holder   for the event; empty for anonymous
-- ARGV[3]  tenant   for the event; empty for none
-- ARGV[4]  keep_ms  how long the tombstone stays: as long as a token of the lease could be shown
--
-- Returns { status, seq, now_ms }
--   released  the lease was live
--   expired   it had ended by time, and no tombstone said so yet; it is released all the same, so
--             that it cannot be resumed
--   evicted   the same, where a policy had ended it
--   ended     it had ended before, or there never was one; it is released all the same
--   unopened  the bucket has no clock

redis.call('PERSIST', clock)

local config, leases, expired, events, records, tombstone = KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[13]
local id, holder, tenant, keep_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local period = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0))
local index = open_index(config, KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11])
if index and (index.lent_seats or index.per_holder) then
  -- What ended before this is charged before this, and frees no seat that is freed by this.
  repeat until end_due(leases, expired, events, period, 64, on_end(index)) < 64
end
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
local live = score > live_from(period)
local status = live and 'released' or score > 0 and 'expired' or 'ended'
mark()

if score > 0 then
  redis.call('ZREM', leases, id)
  undo_by('ZADD', leases, int(score), id)
  local at = live and now or ends_at(score, period)
  record_event(events, 'ended', id, at, holder, tenant, live and 'released' or 'expired',
    index and seat_freed(index, at, id))
end
if not live then
  for _, how in ipairs({ 'expired', 'evicted' }) do
    local ends = how == 'expired' and expired or KEYS[12]
    undo_member(ends, id)
    if redis.call('ZREM', ends, id) == 1 then
      status = how
    end
  end
end

local reason = redis.call('HGET', tombstone, 'reason')
if not reason or reason == 'expired' then
  write_tombstone(tombstone, keep_ms, 'reason', 'released', 'ended', int(now))
end
-- The last call, because nothing takes it back.
redis.call('HDEL', records, id)
return { status, int(seq), int(now) }
