-- Assigns, frees or transfers a named seat of the present period, or says who has it. Works for operators, who
-- need no lease for it.
--
-- KEYS[1]  clock    HASH    the bucket's clock
-- KEYS[2]  config   HASH    the pool's policy
-- KEYS[3]  leases   ZSET    lease id -> expiry, ms
-- KEYS[4]  who      HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[5]  seats    HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[6]  holders  ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[7]  lent     HASH    seat-milliseconds of overdraft, by day
-- KEYS[8]  named    ZSET    period, holder, since when and how
-- KEYS[9]  events   STREAM  the pool's history
--
-- ARGV[1]  what     list, read, assign, free or transfer
-- ARGV[2]  holder   to list, the last one that was read; empty to begin
-- ARGV[3]  to       the holder that gets it; empty but to transfer
-- ARGV[4]  period   begin of an earlier period to list, ms; 0 for the present one
-- ARGV[5]  limit    of the list, at most 5000
-- ARGV[6]  force    1: also a seat that changed hands before in this period, and one that is freed counts as new; else empty
--
-- Returns { status, seq, now_ms, seats, period_ms, period_end_ms, taken, then entries: period, holder, since when and how, parted
--           by \1 }
--   done        the entries are those asked for, or the one that was made
--   had         the holder had one already; its entry
--   none        the holder has none
--   in_use      the holder has live leases on it, which have to be terminated first
--   moved       it changed hands before in this period
--   exhausted   all are taken
--   no_named    the pool has no named seats
--   no_pool     there is no such pool
--   recovering  data was lost, and the pool was not put back yet
--   unopened    the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local config, leases, named, events = KEYS[2], KEYS[3], KEYS[8], KEYS[9]
local what, holder, to, earlier = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local limit, force = tonumber(ARGV[5]), ARGV[6]

local policy = redis.call('HMGET', config, 'capacity', 'named_seats', 'periods', 'ttl_ms', 'linger_ms')
if not policy[1] then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0', '0', '0', '0' }
elseif not policy[2] then
  return { 'no_named', int(seq), int(now), '0', '0', '0', '0' }
end
local index = open_index(config, KEYS[4], KEYS[5], KEYS[6], KEYS[7])
mark()

local period = roll_over(index, named, policy[3])
if earlier > 0 then
  period = period_of(policy[3], earlier)
end
local _, stop = period_of(policy[3], tonumber(period))
local entry = holder ~= '' and what ~= 'list' and named_seat(named, period, holder)

local function answer(status, entries)
  return { status, int(seq), int(now), policy[2], period, stop ~= '' and stop or '0',
    int(named_taken(named, period)), unpack(entries) }
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
  return answer('done', redis.call('ZRANGEBYLEX', named, from, '(' .. period .. '\2', 'LIMIT', 0, limit))
elseif what == 'assign' then
  if entry then
    return answer('had', { entry })
  elseif named_taken(named, period) >= tonumber(policy[2]) then
    return answer('exhausted', {})
  end
  take_named(named, period, holder, 'assigned')
  record_event(events, 'named_assigned', '', now, holder, '', '')
  return answer('done', { named_seat(named, period, holder) })
elseif not entry then
  return answer('none', {})
elseif what == 'read' then
  return answer('done', { entry })
-- Whatever refuses it comes before the leases, which the caller ends only for something that will be done.
elseif string.sub(entry, -11) == 'transferred' and force == '' then
  return answer('moved', { entry })
elseif what == 'transfer' and named_seat(named, period, to) then
  return answer('had', { named_seat(named, period, to) })
elseif has_live_leases() then
  return answer('in_use', { entry })
end

redis.call('ZREM', named, entry)
undo_by('ZADD', named, 0, entry)
if what == 'transfer' then
  occupy(named, period, to, now, 'transferred')
  record_event(events, 'named_transferred', '', now, to, '', '')
  return answer('done', { named_seat(named, period, to) })
end
if force == '' then
  free_named(named, period, holder)
end
record_event(events, 'named_freed', '', now, holder, '', '')
return answer('done', { entry })
