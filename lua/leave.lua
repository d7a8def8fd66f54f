-- Shortens the rest of a lease to the pool's linger time. A renew within it undoes that.
--
-- KEYS[1]  clock    HASH  the bucket's clock
-- KEYS[2]  due      ZSET  pool -> lower bound of its earliest expiry, ms
-- KEYS[3]  config   HASH  the pool's policy
-- KEYS[4]  leases   ZSET  lease id -> expiry, ms
-- KEYS[5]  records  HASH  lease id -> what is known of the lease
--
-- ARGV[1]  pool  name of the pool, for the due index
-- ARGV[2]  id    id of the lease
--
-- Returns { status, seq, now_ms }
--   left      it ends after the linger time, or sooner if it would have anyway
--   ended     it was not live
--   unopened  the bucket has no clock

redis.call('PERSIST', clock)

local due, config, leases, records = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local pool, id = ARGV[1], ARGV[2]

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local ttl, linger = tonumber(policy[1] or 0), tonumber(policy[2] or 0)
local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
mark()

if score <= live_from(lease_period(ttl, linger)) then
  return { 'ended', int(seq), int(now) }
end

local expires_at = now + linger
if expires_at < score then
  redis.call('ZADD', leases, 'XX', int(expires_at), id)
  undo_by('ZADD', leases, int(score), id)
  redis.call('ZADD', due, 'LT', int(expires_at), pool)
  -- The last beat cannot be told from the expiry any more, so it is written down beside what it was replaced by.
  local record = read_record(records, id)
  if record then
    record[BEAT], record[LEFT] = int(score - ttl), int(expires_at)
    write_record(records, id, record)
  end
end
return { 'left', int(seq), int(now) }
