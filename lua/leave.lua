-- Shortens the rest of a lease to the pool's linger time. A renew within it undoes that.
--
-- Joined behind prelude, record.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   due      ZSET  pool -> lower bound of its earliest expiry, ms
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   records  HASH  lease id -> what is known of the lease
--
-- Arguments:
--   pool  pool   for the due index
--   id    lease  the lease
--
-- Returns:
--   left   it ends after the linger time, or sooner if it would have anyway
--   ended  it was not live

redis.call('PERSIST', clock)

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local ttl, linger = tonumber(policy[1] or 0), tonumber(policy[2] or 0)
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
mark()

if score <= live_from(lease_period(ttl, linger)) then
  return answer('ended')
end

local expires_at = now + linger
if expires_at < score then
  redis.call('ZADD', leases, 'XX', int(expires_at), id)
  undo_by('ZADD', leases, int(score), id)
  redis.call('ZADD', due, 'LT', int(expires_at), pool)
  -- The expiry no longer gives the last beat, so it is written down with what replaced it.
  local record = read_record(records, id)
  if record then
    record[BEAT], record[LEFT] = int(score - ttl), int(expires_at)
    write_record(records, id, record)
  end
end
return answer('left')
