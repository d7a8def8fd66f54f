-- Tries whether an acquire could be decided: reads the clock, and writes. Decides nothing.
--
-- The prelude is not joined here: it would open the bucket, which is for calls that need one.
--
-- KEYS[1]  probe  STRING with a TTL  when a node last tried, ms
--
-- Returns { status, seq, now_ms }
--   able  it was written

redis.call('SET', KEYS[1], int(now), 'PX', '60000')
return { 'able', '0', int(now) }
