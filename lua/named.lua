-- Assigns, frees or transfers a named seat of the present period, or says who has it. Works for operators, who
-- need no lease for it.
--
-- KEYS[1]   clock    HASH    the bucket's clock
-- KEYS[2]   config   HASH    the pool's policy
-- KEYS[3]   leases   ZSET    lease id -> expiry, ms
-- KEYS[4]   who      HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[5]   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[6]   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[7]   lent     HASH    seat-milliseconds of overdraft, by day
-- KEYS[8]   queue    ZSET    ticket -> order of arrival
-- KEYS[9]   named    ZSET    period, holder, since when and how
-- KEYS[10]  events   STREAM  the pool's history
--
-- ARGV[1]  what     list, read, assign, free or transfer
-- ARGV[2]  holder   empty to list
-- ARGV[3]  to       the holder that gets it; empty but to transfer
-- ARGV[4]  period   begin of an earlier period to list, ms; 0 for the present one
--
-- Returns { status, seq, now_ms, seats, period_ms, period_end_ms, then entries: period, holder, since when and how, parted by \1 }
--   done       the entries are those asked for, or the one that was made
--   had        the holder had one already; its entry
--   none       the holder has none
--   in_use     the holder has live leases on it, which have to be terminated first
--   moved      it was transferred before in this period
--   exhausted  all are taken
--   no_named   the pool has no named seats
--   no_pool    there is no such pool
--   unopened   the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local config, leases, named, events = KEYS[2], KEYS[3], KEYS[9], KEYS[10]
local what, holder, to, earlier = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local policy = redis.call('HMGET', config, 'capacity', 'named_seats', 'periods', 'ttl_ms')
if not policy[1] then
  return { 'no_pool', int(seq), int(now), '0', '0', '0' }
elseif not policy[2] then
  return { 'no_named', int(seq), int(now), '0', '0', '0' }
end
local index = open_index(config, KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8])
mark()

local period = roll_over(index, named, policy[3])
if earlier > 0 then
  period = period_of(policy[3], earlier)
end
local _, stop = period_of(policy[3], tonumber(period))
local entry = holder ~= '' and named_seat(named, period, holder)

local function answer(status, entries)
  return { status, int(seq), int(now), policy[2], period, stop ~= '' and stop or '0', unpack(entries) }
end

local function has_live_leases()
  local prefix = holder .. '\1n'
  local ids = redis.call('ZRANGEBYLEX', index.holders, '[' .. prefix .. '\1', '(' .. prefix .. '\2')
  for i = 1, #ids do
    if tonumber(redis.call('ZSCORE', leases, string.sub(ids[i], -22)) or 0) > live_from(tonumber(policy[4])) then
      return true
    end
  end
  return false
end

if what == 'list' then
  return answer('done', redis.call('ZRANGEBYLEX', named, '[' .. period .. '\1', '(' .. period .. '\2', 'LIMIT', 0, 5000))
elseif what == 'assign' then
  if entry then
    return answer('had', { entry })
  elseif named_taken(named, period) >= tonumber(policy[2]) then
    return answer('exhausted', {})
  end
  occupy(named, period, holder, now, 'assigned')
  record_event(events, 'named_assigned', '', now, holder, '', '')
  return answer('done', { named_seat(named, period, holder) })
elseif not entry then
  return answer('none', {})
elseif what == 'read' then
  return answer('done', { entry })
elseif has_live_leases() then
  return answer('in_use', { entry })
end

if what == 'transfer' then
  if string.sub(entry, -11) == 'transferred' then
    return answer('moved', { entry })
  elseif named_seat(named, period, to) then
    return answer('had', { named_seat(named, period, to) })
  end
end
redis.call('ZREM', named, entry)
if what == 'transfer' then
  occupy(named, period, to, now, 'transferred')
  record_event(events, 'named_transferred', '', now, to, '', '')
  return answer('done', { named_seat(named, period, to) })
end
record_event(events, 'named_freed', '', now, holder, '', '')
return answer('done', { entry })
