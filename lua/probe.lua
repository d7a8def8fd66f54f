-- Tries whether an acquire could be decided: runs every command that one may need, on a key that is not there, so that nothing
-- comes of them; then it writes. Decides nothing.
--
-- The prelude is not joined here: it would open the bucket, which is for calls that need one.
--
-- Joined behind instant.
--
-- Keys of a bucket:
--   absent  ZSET              nobody makes it
--   probe   HASH with a TTL   `at`: when a node last tried, ms; `none`: 0
--
-- Returns:
--   able  it was written

-- A user who may not run one of these is refused here as it would be in the middle of an acquire. Nobody is refused for a
-- PUBLISH, which fails no decision.
redis.call('GET', absent)
redis.call('SET', absent, '', 'XX', 'PX', '1000')
redis.call('EXISTS', absent)
redis.call('PTTL', absent)
redis.call('DEL', absent)
redis.call('UNLINK', absent)
redis.call('HGET', absent, 'a')
redis.call('HMGET', absent, 'a')
redis.call('HGETALL', absent)
redis.call('HLEN', absent)
redis.call('HDEL', absent, 'a')
redis.call('ZADD', absent, 'XX', 0, 'a')
redis.call('ZREM', absent, 'a')
redis.call('ZSCORE', absent, 'a')
redis.call('ZMSCORE', absent, 'a')
redis.call('ZCARD', absent)
redis.call('ZCOUNT', absent, '-inf', '+inf')
redis.call('ZLEXCOUNT', absent, '-', '+')
redis.call('ZRANK', absent, 'a')
redis.call('ZRANGE', absent, 0, 0)
redis.call('ZRANGEBYLEX', absent, '-', '+', 'LIMIT', 0, 1)
redis.call('ZREMRANGEBYLEX', absent, '-', '+')
redis.call('XADD', absent, 'NOMKSTREAM', '*', 'a', '')
redis.call('XTRIM', absent, 'MAXLEN', '~', 1)

redis.call('HSET', probe, 'at', int(now))
redis.call('HINCRBY', probe, 'none', 0)
redis.call('PEXPIRE', probe, 60000)
return answer('able')
