-- Says which pools of a bucket have something to judge, and tells of outages and losses of the bucket itself.
--
-- Costs a pool in which nothing happened two reads. Nodes take turns: who comes soon after another one learns no more
-- than how far the outbox is.
--
-- KEYS[1]  clock   HASH    the bucket's clock
-- KEYS[2]  watch   HASH    `looked`, and what was told of the bucket: `back`, `lost`
-- KEYS[3]  outbox  STREAM  the bucket's alerts
-- KEYS[4..]  pools   for each pool its events (STREAM) and its alerts (HASH)
--
-- ARGV[1]  every_ms  a look is not repeated sooner
--
-- Returns { status, seq, now_ms, last, then places of pools among those asked for, from 0 }
--   looked    these have something to judge; last is the last entry of the outbox, empty if there is none
--   fresh     another node looked a moment ago
--   unopened  the bucket has no clock; only three fields

local watch, outbox = KEYS[2], KEYS[3]

local function last_of(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  return entry and entry[1] or ''
end

local seen = redis.call('HMGET', watch, 'looked', 'back', 'lost')
if seen[1] and now < tonumber(seen[1]) + tonumber(ARGV[1]) then
  return { 'fresh', int(seq), int(now), last_of(outbox) }
end

redis.call('PERSIST', clock)
mark()
undo_fields(watch, 'looked', 'back', 'lost')
redis.call('HSET', watch, 'looked', int(now), 'back', int(back))
-- The first look of all has no news: what was before is not its own.
local told = tonumber(seen[2] or back)
if back > told then
  tell(outbox, 'store.outage', 'happened', { at = now, since = math.max(floor, told), ['until'] = back })
end
if state[8] == '1' and seen[3] ~= int(generation) and now < generation + 86400000 then
  tell(outbox, 'store.data_lost', 'happened', { at = now, since = generation, ['until'] = generation + 60000 })
  redis.call('HSET', watch, 'lost', int(generation))
end

local reply = { 'looked', int(seq), int(now), last_of(outbox) }
for i = 4, #KEYS, 2 do
  local known = redis.call('HMGET', KEYS[i + 1], 'cursor', 'look_at')
  local last = last_of(KEYS[i])
  if (last ~= '' and last ~= known[1]) or (known[2] and tonumber(known[2]) <= now) then
    reply[#reply + 1] = int((i - 4) / 2)
  end
end
return reply
