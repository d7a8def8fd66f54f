-- Writes slots of a pool's history, and how far its events are rolled up, if nobody else was faster.
--
-- KEYS[1]    clock    HASH    the bucket's clock
-- KEYS[2]    rolled   STRING  how far the events are rolled up
-- KEYS[3]    denials  HASH    minute and code -> how many acquires were denied
-- KEYS[4..]  slots    HASH    slot number -> JSON; one key for a stretch of slots of one length
--
-- ARGV[1]    before  what `rolled` has to be; empty if there is none
-- ARGV[2]    after   what it becomes
-- ARGV[3..]  the number of counts of denials that are in the slots now, and minute and code of each; then for each of
--   the slot keys its TTL in ms, the number of its slots, and number and JSON of each
--
-- Returns { status, seq, now_ms }
--   rolled    everything is written
--   stale     another node was faster, and nothing is written
--   unopened  the bucket has no clock

local rolled, before, after = KEYS[2], ARGV[1], ARGV[2]

if (redis.call('GET', rolled) or '') ~= before then
  return { 'stale', int(seq), int(now) }
end

if before == '' then
  undo_by('DEL', rolled)
else
  undo_by('SET', rolled, before)
end
redis.call('SET', rolled, after)
local at = 4 + tonumber(ARGV[3])
if at > 4 then
  undo_fields(KEYS[3], unpack(ARGV, 4, at - 1))
  redis.call('HDEL', KEYS[3], unpack(ARGV, 4, at - 1))
end
for i = 4, #KEYS do
  local ttl, slots = ARGV[at], tonumber(ARGV[at + 1])
  for number = at + 2, at + 1 + 2 * slots, 2 do
    undo_fields(KEYS[i], ARGV[number])
  end
  redis.call('HSET', KEYS[i], unpack(ARGV, at + 2, at + 1 + 2 * slots))
  redis.call('PEXPIRE', KEYS[i], ttl)
  at = at + 2 + 2 * slots
end
return { 'rolled', int(seq), int(now) }
