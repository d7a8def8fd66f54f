-- Reads a page of those who wait for a seat, in the order in which they are served.
--
-- Joined behind prelude, schedule, seats, yielding, queue.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   config   HASH  the pool's policy
--   who      HASH  lease id -> kind of seat, fence, tenant and holder
--   seats    HASH  seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET  holder, kind, tenant, fence and lease id; in this order
--   lent     HASH  seat-milliseconds of overdraft, by day
--   queue    ZSET  ticket -> order of arrival
--   waiting  ZSET  ticket -> deadline of its next request, ms
--   tickets  HASH  ticket -> what was asked for
--
-- Arguments:
--   after  count  order of arrival of the last one that was read; 0 to begin
--   limit  count  at most 1000
--
-- Returns:
--   listed      a page
--   behind      some lost their place by silence: sweep, and ask again
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--
-- With:
--   length  count  length of the queue
--   each waiter:
--     position       count      1 is the next
--     arrival        count      order of arrival; the cursor of the list
--     since          timestamp  since when it waits; 0 if that is not known
--     asks_again_by  timestamp  when it loses its place if it does not ask again
--     requested      timestamp  until when its request for a seat is open; 0 without one
--     eta            ms         about how long it waits still
--     tenant         text?      sub-account
--     holder         text?      who waits

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'schedule', 'hand_over_ms')
if not policy[1] then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
local ttl, capacity = tonumber(policy[2]), capacity_at(policy[1], policy[3] or nil, now)
local index = open_index(config, who, seats, holders, lent)
if redis.call('ZCOUNT', waiting, '-inf', int(waits_from(SILENT_MS))) > 0 then
  return answer('behind')
end

local length = redis.call('ZCARD', queue)
local first = redis.call('ZCOUNT', queue, '-inf', int(after))
local page = index and redis.call('ZRANGE', queue, first, first + limit - 1, 'WITHSCORES') or {}
if #page == 0 then
  return answer('listed', { length = length })
end
local each, free = pace_for(index, ttl, capacity)
local ids, fields = {}, {}
for i = 1, #page, 2 do
  ids[#ids + 1] = page[i]
  fields[#fields + 1], fields[#fields + 2], fields[#fields + 3] = page[i], 'since:' .. page[i], 'requested:' .. page[i]
end
local known, deadlines = redis.call('HMGET', tickets, unpack(fields)), redis.call('ZMSCORE', waiting, unpack(ids))
for i = 1, #ids do
  local position, arrival = first + i, tonumber(page[2 * i])
  local tenant, holder = string.match(known[3 * i - 2] or '\1\1', '^([^\1]*)\1([^\1]*)')
  local since, requested = known[3 * i - 1] or 0, 0
  if policy[4] and known[3 * i] then
    requested = waits_until(tonumber(known[3 * i]), tonumber(policy[4]))
    requested = requested > now and requested or 0
  end
  local asks_again_by = waits_until(tonumber(deadlines[i] or now), SILENT_MS)
  local eta = wait_of(each, free, position)
  add_waiter(position, arrival, since, asks_again_by, requested, eta, tenant, holder)
end
return answer('listed', { length = length })
