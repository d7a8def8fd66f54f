-- Writes slots of a pool's history, and how far its events are rolled up, if nobody else was faster.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   rolled   STRING  how far the events are rolled up
--   denials  HASH    minute and code -> how many acquires were denied
--   each range:  slots of one length that share a key
--     key(...)  HASH  slot number -> JSON
--
-- Arguments:
--   before  text?  what `rolled` has to be; none before the first
--   after   text   what it becomes
--   each range:
--     keep  ms  how long they stay
--   each count:  of denials that are in the slots now
--     minute_and_code  text  its field in `denials`
--   each slot:  in the order of their ranges
--     range   count   of which range it is, from 1
--     number  number  number of the slot
--     json    json    what happened in it
--
-- Returns:
--   rolled  everything is written
--   stale   another node was faster, and nothing is written

if (redis.call('GET', rolled) or '') ~= before then
  return answer('stale')
end

if before == '' then
  undo_by('DEL', rolled)
else
  undo_by('SET', rolled, before)
end
redis.call('SET', rolled, after)
if count_count > 0 then
  undo_fields(denials, unpack(ARGV, minute_and_code_of + 1, minute_and_code_of + count_count))
  redis.call('HDEL', denials, unpack(ARGV, minute_and_code_of + 1, minute_and_code_of + count_count))
end
local slot = 1
for range = 1, range_count do
  local slots, fields = KEYS[key_of + range], {}
  while slot <= slot_count and tonumber(ARGV[range_of + slot]) == range do
    undo_fields(slots, ARGV[number_of + slot])
    fields[#fields + 1], fields[#fields + 2] = ARGV[number_of + slot], ARGV[json_of + slot]
    slot = slot + 1
  end
  redis.call('HSET', slots, unpack(fields))
  redis.call('PEXPIRE', slots, ARGV[keep_of + range])
end
return answer('rolled')
