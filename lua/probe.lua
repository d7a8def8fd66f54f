-- Tries whether an acquire could be decided: reads the clock, and writes. Decides nothing.
--
-- The prelude is not joined here: it would open the bucket, which is for calls that need one.
--
-- Joined behind instant.
--
-- Keys of a bucket:
--   probe  STRING with a TTL  when a node last tried, ms
--
-- Returns:
--   able  it was written

redis.call('SET', probe, int(now), 'PX', '60000')
return answer('able')
