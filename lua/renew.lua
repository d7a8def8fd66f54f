-- Extends live leases of one bucket, many in one call. What is not that simple is left to resume.lua.
--
-- KEYS[1]    clock    HASH  the bucket's clock
-- KEYS[2..]  for each pool two keys, then one record for each of the details:
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   record   HASH  what is known of one lease
--
-- ARGV[1]    pools      how many pools
-- ARGV[2]    margin_ms  how long a record outlives a lease that is not renewed
-- ARGV[3..]  for each pool the number of its ids and the ids, at most 1000 in all; then for each of the details:
--   pool         number of its pool, from 1
--   position     number of its id in that pool, from 1
--   label        the new one, behind '='; empty to leave it as it is
--   activities   the new JSON array, behind '='; empty to leave it as it is
--
-- Returns { 'renewed', seq, now_ms, then for each pool ttl_ms and marks, then for each of the details label and activities }
--   marks has a character for each id: 1 renewed, 0 left to resume.lua, r renewed but the record of its details is gone
--   ttl_ms is 0 where there is no such pool
--   unopened  the bucket has no clock; only three fields

-- A write that takes no memory comes first, so that a full memory ends nobody.
redis.call('PERSIST', clock)
mark()

local pools, margin_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = { 'renewed', int(seq), int(now) }
local ttls, marks, first = {}, {}, {}
local at = 3

for pool = 1, pools do
  local config, leases = KEYS[2 * pool], KEYS[2 * pool + 1]
  local n = tonumber(ARGV[at])
  local ttl = tonumber(redis.call('HGET', config, 'ttl_ms') or 0)
  local mark_of, renewed, size = {}, {}, 0
  if ttl > 0 then
    local scores = redis.call('ZMSCORE', leases, unpack(ARGV, at + 1, at + n))
    local from, expires_at = live_from(ttl), int(now + ttl)
    for i = 1, n do
      local score = scores[i]
      if score and tonumber(score) > now + ttl then
        -- A shorter TTL does not take back what was promised before; resume.lua says until when that is.
        mark_of[i] = '0'
      elseif score and tonumber(score) > from then
        renewed[size + 1], renewed[size + 2] = expires_at, ARGV[at + i]
        size = size + 2
        mark_of[i] = '1'
      else
        mark_of[i] = '0'
      end
    end
    if size > 0 then
      redis.call('ZADD', leases, 'XX', unpack(renewed))
    end
  else
    for i = 1, n do
      mark_of[i] = '0'
    end
  end
  ttls[pool], marks[pool], first[pool] = ttl, mark_of, at
  at = at + n + 1
end

local details = {}
for i = 2 * pools + 2, #KEYS do
  local record = KEYS[i]
  local pool, position = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local label, activities = ARGV[at + 2], ARGV[at + 3]
  local known = { '', '' }
  if marks[pool][position] ~= '0' then
    if redis.call('PEXPIRE', record, int(ttls[pool] + margin_ms)) == 0 then
      marks[pool][position] = 'r'
    else
      -- In a pool that keeps no names a label is one too, and an activity may hold one.
      if (label ~= '' or activities ~= '') and redis.call('HEXISTS', KEYS[2 * pool], 'privacy') == 1 then
        label, activities = '', ''
      end
      if label ~= '' then
        redis.call('HSET', record, 'label', string.sub(label, 2))
      end
      if activities ~= '' then
        redis.call('HSET', record, 'activities', string.sub(activities, 2))
      end
      known = redis.call('HMGET', record, 'label', 'activities')
    end
  end
  details[#details + 1], details[#details + 2] = known[1] or '', known[2] or ''
  at = at + 4
end

for pool = 1, pools do
  reply[#reply + 1], reply[#reply + 2] = int(ttls[pool]), table.concat(marks[pool])
end
for i = 1, #details do
  reply[#reply + 1] = details[i]
end
return reply
