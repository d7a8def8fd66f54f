-- Assigns, frees or transfers a named seat of the present period, or reads its owner. Works for operators, who
-- need no lease for it.
--
-- Joined behind prelude, schedule, seats, rules.
--
-- Keys of a pool:
--   clock    HASH    the bucket's clock
--   config   HASH    the pool's policy
--   leases   ZSET    lease id -> expiry, ms
--   who      HASH    lease id -> kind of seat, fence, tenant and holder
--   seats    HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders  ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent     HASH    seat-milliseconds of overdraft, by day
--   named    ZSET    period, holder, since when and how
--   events   STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--
-- Arguments:
--   what     list|read|assign|free|transfer  what to do
--   holder   text?       of the seat; to list, the last one that was read
--   to       text?       the holder that gets it, to transfer
--   earlier  timestamp?  an instant of an earlier period to list
--   limit    count       of the list, at most 5000
--   force    flag        also a seat that changed hands before in this period, and one that is freed counts as new
--
-- Returns:
--   done        the seats are those asked for, or the one that was made
--   had         the holder had one already
--   none        the holder has none
--   in_use      the holder has live leases on it, which have to be terminated first
--   moved       it changed hands before in this period
--   exhausted   all are taken
--   no_named    the pool has no named seats
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   behind      more was due than one call does
--
-- With:
--   count       count      named seats in all
--   period      timestamp  start of the period
--   period_end  timestamp  its end
--   taken       count      named seats of the period that are taken
--   each seat:
--     entry  text  period, holder, since when and how, parted by \1

redis.call('PERSIST', clock)
evaluate_after_events(evaluations)

local policy = redis.call('HMGET', config, 'capacity', 'named_seats', 'periods', 'ttl_ms', 'linger_ms')
if not policy[1] then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
elseif not policy[2] then
  return answer('no_named')
end
local index = open_index(config, who, seats, holders, lent)
mark()

local period, carried = roll_over(index, named, policy[3])
if not carried then
  return answer('behind')
elseif earlier then
  period = period_of(policy[3], earlier)
end
local _, period_end = period_of(policy[3], tonumber(period))
local entry = holder ~= '' and what ~= 'list' and named_seat(named, period, holder)

local function told(status, entry)
  if entry then
    add_seat(entry)
  end
  return answer(status, { count = policy[2], period = period, period_end = period_end ~= '' and period_end or nil,
    taken = named_taken(named, period) })
end

local function has_live_leases()
  local prefix = holder .. '\1n'
  local alive_from, from = live_from(lease_period(tonumber(policy[4]), tonumber(policy[5]))), '[' .. prefix .. '\1'
  repeat
    local ids = redis.call('ZRANGEBYLEX', index.holders, from, '(' .. prefix .. '\2', 'LIMIT', 0, 64)
    for i = 1, #ids do
      if tonumber(redis.call('ZSCORE', leases, string.sub(ids[i], -22)) or 0) > alive_from then
        return true
      end
    end
    from = ids[64] and '(' .. ids[64]
  until not from
  return false
end

if what == 'list' then
  local from = holder == '' and '[' .. period .. '\1' or '(' .. period .. '\1' .. holder .. '\2'
  add_each_seat(redis.call('ZRANGEBYLEX', named, from, '(' .. period .. '\2', 'LIMIT', 0, limit))
  return told('done')
elseif what == 'assign' then
  if entry then
    return told('had', entry)
  elseif named_taken(named, period) >= tonumber(policy[2]) then
    return told('exhausted')
  end
  take_named(named, period, holder, 'assigned')
  record_event(events, 'named_assigned', '', now, holder, '', '')
  return told('done', named_seat(named, period, holder))
elseif not entry then
  return told('none')
elseif what == 'read' then
  return told('done', entry)
-- Whatever refuses it comes before the leases, which the caller ends only for something that will be done.
elseif string.sub(entry, -11) == 'transferred' and not force then
  return told('moved', entry)
elseif what == 'transfer' and named_seat(named, period, to) then
  return told('had', named_seat(named, period, to))
elseif has_live_leases() then
  return told('in_use', entry)
end

redis.call('ZREM', named, entry)
undo_by('ZADD', named, 0, entry)
if what == 'transfer' then
  occupy(named, period, to, now, 'transferred')
  record_event(events, 'named_transferred', '', now, to, '', '')
  return told('done', named_seat(named, period, to))
end
if not force then
  free_named(named, period, holder)
end
record_event(events, 'named_freed', '', now, holder, '', '')
return told('done', entry)
