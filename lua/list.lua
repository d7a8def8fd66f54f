-- Reads a page of live leases in order of expiry.
--
-- KEYS[1]  clock   HASH  the bucket's clock
-- KEYS[2]  config  HASH  the pool's policy
-- KEYS[3]  leases  ZSET  lease id -> expiry, ms
--
-- ARGV[1]  after_ms  expiry of the last lease seen; 0 to begin
-- ARGV[2]  after_id  its id; empty to begin
-- ARGV[3]  limit     at most 1000 leases
--
-- Returns { status, seq, now_ms, ttl_ms, renewed_with, changed_ms, floor_ms, until_ms, then for each lease its id and its score, ms }
--   listed      renewed_with is the TTL before the last change of it, which was at changed_ms; a lease ends at its score, but
--               at until_ms if its score is between floor_ms and that
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

local config, leases = KEYS[2], KEYS[3]
local after_ms, after_id, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local policy = redis.call('HMGET', config, 'ttl_ms', 'ttl_before_ms', 'ttl_changed_ms', 'linger_ms')
local ttl = tonumber(policy[1])
if not ttl then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0', '0', '0', '0', '0' }
end

local period = lease_period(ttl, tonumber(policy[4]))

-- By rank: leases that share an expiry are in Redis's order, which Lua's comparison of texts may not be.
-- A lease that was renewed since the page before is not where it was; then those beside it come again.
local first = redis.call('ZCOUNT', leases, '-inf', int(live_from(period)))
if after_id ~= '' then
  local seen
  if tonumber(redis.call('ZSCORE', leases, after_id) or 0) == after_ms then
    seen = redis.call('ZRANK', leases, after_id) + 1
  else
    seen = redis.call('ZCOUNT', leases, '-inf', '(' .. int(after_ms))
  end
  first = math.max(first, seen)
end

-- The two instants are ends_at for all of them: a number made into a text for each would be most of the work.
local reply = { 'listed', int(seq), int(now), int(ttl), policy[2] or '0', policy[3] or '0', int(floor),
  int(back + period) }
local page = redis.call('ZRANGE', leases, first, first + limit - 1, 'WITHSCORES')
for i = 1, #page do
  reply[8 + i] = page[i]
end
return reply
