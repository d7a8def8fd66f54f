-- Tries whether an acquire could be decided: reads the clock, and runs what its scripts run. Decides nothing. What is refused
-- fails the call, as it would fail theirs; who is told of a free seat is no part of a decision, so nothing is published.
--
-- The prelude is not joined here: it would open the bucket, which is for calls that need one.
--
-- KEYS[1]  hash    HASH with a TTL    only this uses it
-- KEYS[2]  zset    ZSET with a TTL    only this uses it
-- KEYS[3]  stream  STREAM with a TTL  only this uses it
-- KEYS[4]  text    STRING with a TTL  when a node last tried, ms
--
-- Returns { status, seq, now_ms }
--   able  all was done

local hash, zset, stream, text = KEYS[1], KEYS[2], KEYS[3], KEYS[4]

redis.call('SET', text, int(now), 'PX', '60000')
redis.call('GET', text)
redis.call('EXISTS', text)

redis.call('HSET', hash, 'at', int(now), 'past', '1')
redis.call('HINCRBY', hash, 'past', '1')
redis.call('HGET', hash, 'at')
redis.call('HMGET', hash, 'at', 'past')
redis.call('HEXISTS', hash, 'at')
redis.call('HDEL', hash, 'past')
redis.call('PERSIST', hash)
redis.call('PEXPIRE', hash, '60000')

redis.call('ZADD', zset, int(now), 'at', '1', 'past')
redis.call('ZSCORE', zset, 'at')
redis.call('ZCARD', zset)
redis.call('ZCOUNT', zset, '0', '+inf')
redis.call('ZRANGE', zset, '0', '0')
redis.call('ZREM', zset, 'past')
redis.call('PEXPIRE', zset, '60000')

redis.call('XADD', stream, 'MAXLEN', '1', '*', 'at', int(now))
redis.call('PEXPIRE', stream, '60000')
return { 'able', '0', int(now) }
