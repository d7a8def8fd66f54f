-- Says whether a lease lives, for somebody who was shown its proof or its id. It extends nothing, and writes nothing.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock          HASH  the bucket's clock
--   config         HASH  the pool's policy
--   leases         ZSET  lease id -> expiry, ms
--   records        HASH  lease id -> what is known of the lease
--   expired        ZSET  lease id -> end, ms; not yet in a tombstone
--   evicted        ZSET  lease id -> end, ms; not yet in a tombstone
--   tombstone(id)  HASH  how the lease ended, if it did
--
-- Arguments:
--   id     lease  the lease
--   fence  count  that it has
--
-- Returns:
--   active      it lives
--   ended       it does not, or its fence is another one
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   score         number     place in the order of expiry, ms
--   expires_at    timestamp  when it ends if it is not renewed
--   ttl           ms         of the pool
--   renewed_with  ms         the TTL before the last change of it
--   changed       timestamp  when that was
--   record        text?      of one that lives, packed as in parts/record.lua; none if it was lost
--   reason        text?      of one that ended, as a tombstone says it; none if nothing is known of it

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms', 'ttl_before_ms', 'ttl_changed_ms')
local ttl = tonumber(policy[1])
if not ttl then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
local period = lease_period(ttl, tonumber(policy[2]))
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
local record = redis.call('HGET', records, id)
-- A lease whose record was lost is the one of that id all the same.
if record and tonumber(string.match(record, '^%d+')) ~= fence then
  return answer('ended')
end
if score > live_from(period) then
  return answer('active', { score = score, expires_at = ends_at(score, period), ttl = ttl, renewed_with = policy[3], changed = policy[4],
    record = record })
end
if redis.call('ZSCORE', evicted, id) then
  return answer('ended', { reason = 'evicted' })
end
if score > 0 or redis.call('ZSCORE', expired, id) then
  return answer('ended', { reason = 'expired' })
end
return answer('ended', { reason = redis.call('HGET', tombstone, 'reason') })
