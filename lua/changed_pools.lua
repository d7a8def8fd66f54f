-- Says what pools of a bucket have that a roll-up may not know of. Nodes take turns: who comes soon after another one learns
-- nothing, because that one rolls up what there is.
--
-- KEYS[1]  clock  HASH  the bucket's clock
-- KEYS[2]  watch  HASH  `stirred`: when a node last had its turn, ms
-- KEYS[3..]  pools  for each pool its events (STREAM) and its denials (HASH)
--
-- ARGV[1]  every_ms  a turn is not given sooner; 0 for whoever has it already
--
-- Returns { status, seq, now_ms, back, then for each pool its last event and how many counts of denials it has }
--   stirred   back is the end of the last time in which no node could work, ms; the last event is empty if there is none
--   fresh     it is another node's turn; only three fields
--   unopened  the bucket has no clock; only three fields

local watch, every_ms = KEYS[2], tonumber(ARGV[1])

local before = tonumber(redis.call('HGET', watch, 'stirred') or 0)
if now < before + every_ms then
  return { 'fresh', int(seq), int(now) }
end

redis.call('PERSIST', clock)
mark()
undo_fields(watch, 'stirred')
redis.call('HSET', watch, 'stirred', int(now))

local reply = { 'stirred', int(seq), int(now), int(back) }
for i = 3, #KEYS, 2 do
  local entry = redis.call('XREVRANGE', KEYS[i], '+', '-', 'COUNT', 1)[1]
  reply[#reply + 1] = entry and entry[1] or ''
  reply[#reply + 1] = int(redis.call('HLEN', KEYS[i + 1]))
end
return reply
