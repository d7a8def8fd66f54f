-- Reads a page of live leases in order of expiry.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock   HASH  the bucket's clock
--   config  HASH  the pool's policy
--   leases  ZSET  lease id -> expiry, ms
--
-- Arguments:
--   after_score  number  score of the last lease seen; 0 to begin
--   after_id     lease?  its id; none to begin
--   limit        count   maximum of leases, at most 1000
--
-- Returns:
--   listed   the leases behind the last one seen
--   no_pool  there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   ttl           ms         of the pool
--   renewed_with  ms         the TTL before the last change of it
--   changed       timestamp  when that was
--   floor         timestamp  a lease ends at its score, but at until_ms if its score is between this and that
--   until_ms      timestamp  see floor
--   each lease:
--     id     lease   the lease
--     score  number  place in the order of expiry, ms

local policy = redis.call('HMGET', config, 'ttl_ms', 'ttl_before_ms', 'ttl_changed_ms', 'linger_ms')
local ttl = tonumber(policy[1])
if not ttl then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end

local period = lease_period(ttl, tonumber(policy[4]))

-- By rank: leases that share an expiry are in Redis's order, which Lua's comparison of strings may not be.
-- A lease that was renewed since the page before is not where it was; then its neighbours come again.
local first = redis.call('ZCOUNT', leases, '-inf', int(live_from(period)))
if after_id ~= '' then
  local seen
  if tonumber(redis.call('ZSCORE', leases, after_id) or 0) == after_score then
    seen = redis.call('ZRANK', leases, after_id) + 1
  else
    seen = redis.call('ZCOUNT', leases, '-inf', '(' .. int(after_score))
  end
  first = math.max(first, seen)
end

-- The two instants are ends_at for all of them: formatting a number for each would be most of the work.
add_each_lease(redis.call('ZRANGE', leases, first, first + limit - 1, 'WITHSCORES'))
return answer('listed', { ttl = ttl, renewed_with = policy[2], changed = policy[3], floor = floor, until_ms = back + period })
