-- Extends live leases, many in one call. What is not that simple is left to resume.lua.
--
-- The only script that may span buckets, because a call costs Redis as much as several beats in it. In a cluster the node
-- sends those of one bucket, whose keys are in one slot.
--
-- KEYS[1..]  for each pool three keys, those of a bucket together, then one for each pool that has details:
--   clock    HASH  the clock of its bucket
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   records  HASH  lease id -> what is known of the lease
--
-- ARGV[1]    pools      how many pools
-- ARGV[2]    margin_ms  how long the records outlive leases that are not renewed
-- ARGV[3]    sample     number of the pool whose first id is looked at: how late it is; 0 for none
-- ARGV[4]    place      number of that pool among those that have details
-- ARGV[5..]  for each pool the number of its ids and the ids, at most 1000 in all; then for each detail, pool by pool:
--   pool         number of its pool, from 1
--   position     number of its id in that pool, from 1
--   label        the new one, behind '='; empty to leave it as it is
--   activities   the new JSON array, behind '='; empty to leave it as it is
--   read         1 to return both as they are then; 0 returns them empty, and only the TTL of the records is set
--
-- Returns { 'renewed', seq, now_ms, then for each pool seq, now_ms, ttl_ms and marks, then for each of the details label and
--           activities, rest_ms }
--   seq and now_ms come first as those of the first bucket, and for each pool as those of its own
--   marks has a character for each id: 1 renewed, 0 left to resume.lua, r renewed but the record of its details is gone
--   ttl_ms is 0 where there is no such pool, or where a bucket that is not the first has no clock
--   rest_ms is how long the sampled id would have lived without this beat, negative if it did not; empty where it is not
--     known, or says nothing about the beat because the lease was left
--   unopened  the first bucket has no clock; only three fields

-- A write that takes no memory comes first, so that a full memory ends nobody.
redis.call('PERSIST', clock)
mark()

-- Extends those of the n ids behind ARGV[before] that live. Returns a character for each: 1 extended, 0 not.
--
-- Whoever is in `leases` lives, but for those that ended in the last second and that no sweep has taken away. These
-- are few and come first, so they are looked for, and not the score of each lease: that would double the cost.
local function extend(leases, ttl, linger, before, n)
  local from, expires_at = live_from(lease_period(ttl, linger)), int(now + ttl)
  local dead = redis.call('ZRANGE', leases, '-inf', int(from), 'BYSCORE', 'LIMIT', 0, 64)
  local ended, scores = {}, nil
  for i = 1, #dead do
    ended[dead[i]] = true
  end
  if #dead == 64 then
    scores = redis.call('ZMSCORE', leases, unpack(ARGV, before + 1, before + n))
    for i = 1, n do
      ended[ARGV[before + i]] = not scores[i] or tonumber(scores[i]) <= from
    end
  end
  local beats, size = {}, 0
  for i = before + 1, before + n do
    if not ended[ARGV[i]] then
      beats[size + 1], beats[size + 2] = expires_at, ARGV[i]
      size = size + 2
    end
  end
  -- GT: a shorter TTL does not take back what was promised before; resume.lua says until when that is.
  if size > 0 and redis.call('ZADD', leases, 'XX', 'GT', 'CH', unpack(beats)) == n then
    return string.rep('1', n)
  end
  -- Who was extended has exactly this score, also if it stands here twice or has beaten in the same millisecond.
  scores = redis.call('ZMSCORE', leases, unpack(ARGV, before + 1, before + n))
  local marks = {}
  for i = 1, n do
    marks[i] = scores[i] and tonumber(scores[i]) == now + ttl and '1' or '0'
  end
  return table.concat(marks)
end

-- How long the lease with this id would live without its beat.
local function rest_of(leases, id, records)
  local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
  local record = score > 0 and read_record(records, id)
  if score > 0 and not (record and tonumber(record[LEFT]) == score) then
    return int(score - now)
  end
  return ''
end

local pools, margin_ms, sample = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local number, instant = int(seq), int(now)
local reply = { 'renewed', number, instant }
local ttls, longest, marks, ids = {}, {}, {}, {}
local rest, at = '', 5

for pool = 1, pools do
  local n, ttl, linger = tonumber(ARGV[at]), 0, 0
  if KEYS[3 * pool - 2] ~= clock and enter(KEYS[3 * pool - 2]) then
    mark()
    number, instant = int(seq), int(now)
  end
  if generation then
    local policy = redis.call('HMGET', KEYS[3 * pool - 1], 'ttl_ms', 'linger_ms')
    ttl, linger = tonumber(policy[1] or 0), tonumber(policy[2] or 0)
  end
  if pool == sample then
    rest = rest_of(KEYS[3 * pool], ARGV[at + 1], KEYS[3 * pools + tonumber(ARGV[4])])
  end
  if ttl > 0 then
    marks[pool] = extend(KEYS[3 * pool], ttl, linger, at, n)
  else
    marks[pool] = string.rep('0', n)
  end
  ttls[pool], longest[pool], ids[pool] = ttl, tonumber(state[7]) or 0, at
  reply[4 * pool], reply[4 * pool + 1], reply[4 * pool + 2] = number, instant, int(ttl)
  at = at + n + 1
end

local details = {}
local last, records, place = 0, nil, 3 * pools
while at < #ARGV do
  local pool, position = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local label, activities, read = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4] == '1'
  if pool ~= last then
    last, place = pool, place + 1
    records = KEYS[place]
    keep_records(records, math.max(ttls[pool], longest[pool]), margin_ms)
  end
  local id, known = ARGV[ids[pool] + position], nil
  if string.sub(marks[pool], position, position) ~= '0' then
    known = read and read_record(records, id)
    if not known and (read or redis.call('HEXISTS', records, id) == 0) then
      marks[pool] = string.sub(marks[pool], 1, position - 1) .. 'r' .. string.sub(marks[pool], position + 1)
    end
  end
  -- In a pool that keeps no names a label is one too, and an activity may hold one.
  if known and label .. activities ~= '' and redis.call('HEXISTS', KEYS[3 * pool - 1], 'privacy') == 0 then
    known[LABEL] = label ~= '' and string.sub(label, 2) or known[LABEL]
    known[ACTIVITIES] = activities ~= '' and string.sub(activities, 2) or known[ACTIVITIES]
    write_record(records, id, known)
  end
  details[#details + 1], details[#details + 2] = known and known[LABEL] or '', known and known[ACTIVITIES] or ''
  at = at + 5
end

for pool = 1, pools do
  reply[4 * pool + 3] = marks[pool]
end
for i = 1, #details do
  reply[#reply + 1] = details[i]
end
reply[#reply + 1] = rest
return reply
