-- Writes slots of a pool's history, and how far its events are rolled up, if nobody else was faster.
--
-- KEYS[1]    clock   HASH    the bucket's clock
-- KEYS[2]    rolled  STRING  how far the events are rolled up
-- KEYS[3..]  slots   HASH    slot number -> JSON; one key for a stretch of slots of one length
--
-- ARGV[1]    before  what `rolled` has to be; empty if there is none
-- ARGV[2]    after   what it becomes
-- ARGV[3..]  for each of the slot keys its TTL in ms, the number of its slots, and number and JSON of each
--
-- Returns { status, seq, now_ms }
--   rolled    everything is written
--   stale     another node was faster, and nothing is written
--   unopened  the bucket has no clock

local rolled, before, after = KEYS[2], ARGV[1], ARGV[2]

if (redis.call('GET', rolled) or '') ~= before then
  return { 'stale', int(seq), int(now) }
end

redis.call('SET', rolled, after)
local at = 3
for i = 3, #KEYS do
  local ttl, slots = ARGV[at], tonumber(ARGV[at + 1])
  redis.call('HSET', KEYS[i], unpack(ARGV, at + 2, at + 1 + 2 * slots))
  redis.call('PEXPIRE', KEYS[i], ttl)
  at = at + 2 + 2 * slots
end
return { 'rolled', int(seq), int(now) }
