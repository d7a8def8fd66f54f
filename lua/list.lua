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
-- Returns { status, seq, now_ms, ttl_ms, renewed_with, changed_ms, then for each lease its id, its score and its expiry, ms }
--   listed    renewed_with is the TTL before the last change of it, which was at changed_ms
--   no_pool   there is no such pool
--   unopened  the bucket has no clock; only three fields

local config, leases = KEYS[2], KEYS[3]
local after_ms, after_id, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

local policy = redis.call('HMGET', config, 'ttl_ms', 'ttl_before_ms', 'ttl_changed_ms')
local ttl = tonumber(policy[1])
if not ttl then
  return { 'no_pool', int(seq), int(now), '0', '0', '0' }
end

local reply = { 'listed', int(seq), int(now), int(ttl), policy[2] or '0', policy[3] or '0' }
local from = '(' .. int(live_from(ttl))
if after_ms > live_from(ttl) then
  from = int(after_ms)
end

-- Leases with one expiry are in order of their ids, so those up to after_id were on the page before.
local offset = 0
repeat
  local page = redis.call('ZRANGE', leases, from, '+inf', 'BYSCORE', 'LIMIT', offset, limit, 'WITHSCORES')
  for i = 1, #page, 2 do
    local score = tonumber(page[i + 1])
    if (score > after_ms or page[i] > after_id) and #reply < 6 + 3 * limit then
      reply[#reply + 1], reply[#reply + 2] = page[i], page[i + 1]
      reply[#reply + 1] = int(ends_at(score, ttl))
    end
  end
  offset = offset + limit
until #page < 2 * limit or #reply > 6
return reply
