-- Reads a page of those who wait for a seat, in the order in which they are served.
--
-- KEYS[1]  clock    HASH  the bucket's clock
-- KEYS[2]  config   HASH  the pool's policy
-- KEYS[3]  who      HASH  lease id -> kind of seat, fence, tenant and holder
-- KEYS[4]  seats    HASH  seats in use: all, overdraft, named, t:<tenant>
-- KEYS[5]  holders  ZSET  holder, kind, tenant, fence and lease id; in this order
-- KEYS[6]  lent     HASH  seat-milliseconds of overdraft, by day
-- KEYS[7]  queue    ZSET  ticket -> order of arrival
-- KEYS[8]  waiting  ZSET  ticket -> until when it has to ask again, ms
-- KEYS[9]  tickets  HASH  ticket -> what was asked for
--
-- ARGV[1]  after  order of arrival of the last one that was read; 0 to begin
-- ARGV[2]  limit  at most 1000
--
-- Returns { status, seq, now_ms, waiting, then entries: position, arrival, since when (0 if not known), until when it has to ask
--           again, eta_ms, tenant and holder, parted by \1 }
--   listed      waiting is how many there are
--   behind      some lost their place by silence: sweep, and ask again
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

local config = KEYS[2]
local keys = { queue = KEYS[7], waiting = KEYS[8], tickets = KEYS[9] }
local after, limit = tonumber(ARGV[1]), tonumber(ARGV[2])

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'schedule')
if not policy[1] then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0' }
end
local ttl, capacity = tonumber(policy[2]), capacity_at(policy[1], policy[3] or nil, now)
local index = open_index(config, KEYS[3], KEYS[4], KEYS[5], KEYS[6])
if redis.call('ZCOUNT', keys.waiting, '-inf', int(live_from(SILENT_MS))) > 0 then
  return { 'behind', int(seq), int(now), '0' }
end

local reply = { 'listed', int(seq), int(now), int(redis.call('ZCARD', keys.queue)) }
local first = redis.call('ZCOUNT', keys.queue, '-inf', int(after))
local page = index and redis.call('ZRANGE', keys.queue, first, first + limit - 1, 'WITHSCORES') or {}
if #page == 0 then
  return reply
end
local each, free = pace_for(index, ttl, capacity)
local ids, fields = {}, {}
for i = 1, #page, 2 do
  ids[#ids + 1] = page[i]
  fields[#fields + 1], fields[#fields + 2] = page[i], 'since:' .. page[i]
end
local known, deadlines = redis.call('HMGET', keys.tickets, unpack(fields)), redis.call('ZMSCORE', keys.waiting, unpack(ids))
for i = 1, #ids do
  local position = first + i
  local tenant, holder = string.match(known[2 * i - 1] or '\1\1', '^([^\1]*)\1([^\1]*)')
  reply[#reply + 1] = table.concat({ int(position), int(tonumber(page[2 * i])), known[2 * i] or '0',
    int(ends_at(tonumber(deadlines[i] or now), SILENT_MS)), int(wait_of(each, free, position)), tenant, holder }, '\1')
end
return reply
