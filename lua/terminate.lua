-- Ends leases at once by an operator's order, with a reason that the holders read in their next renew. Those of a whole
-- holder, tenant or pool are marked first: also what has expired and could be resumed ends with that, found or not.
--
-- Joined behind prelude, record, tombstone, schedule, seats, yielding, queue, blocks, ends.
--
-- Keys of a pool:
--   clock        HASH    the bucket's clock
--   config       HASH    the pool's policy
--   leases       ZSET    lease id -> expiry, ms
--   expired      ZSET    lease id -> end, ms; not yet in a tombstone
--   events       STREAM  the pool's history
--   evaluations  ZSET    pool -> when its alerts are to be evaluated, ms
--   blocks       ZSET    entry of parts/blocks.lua -> end of the block, ms
--   who          HASH    lease id -> kind of seat, fence, tenant and holder
--   seats        HASH    seats in use: all, overdraft, named, t:<tenant>
--   holders      ZSET    holder, kind, tenant, fence and lease id; in this order
--   lent         HASH    seat-milliseconds of overdraft, by day
--   idle         ZSET    lease id -> when its user was last active, ms; only of those that nobody uses
--   held         ZSET    lease id -> fence
--   queue        ZSET    ticket -> order of arrival
--   records      HASH    lease id -> what is known of the lease
--   block_notes  HASH    the same entry -> end and start of the block, its author and its reason
--   waiting      ZSET    ticket -> deadline of its next request, ms
--   tickets      HASH    ticket -> what was asked for
--   line         ZSET    those who are to be called, and those who are called, by tenant and arrival
--   heads        ZSET    tenant -> arrival of its first one in line
--   called       ZSET    tenant, arrival and ticket -> end of the time for which a seat is kept for it, ms
--   ended_mark(...)  HASH    what was ended at once of this holder, tenant or pool: up to which fence, and why
--   each lease:
--     tombstone(id)  HASH  how it ended
--
-- Arguments:
--   reason     text?  what the holders read
--   block_for  ms     how long the holders may not acquire; 0 for not at all
--   blocked    text?  a holder that is blocked also if it has no lease
--   keep       ms     how long the tombstones stay: as long as a token could be shown
--   marks      flag   to set the mark
--   by         text?  who does it, for the notes of a block
--   unused     flag   only those whose seat nobody uses: no named one, and none whose holder works with another lease
--   each lease:  at most 200
--     id  lease  the lease
--   each tenant:  for which alone the holders are blocked; none is for all of them
--     tenant  text  its name
--
-- Returns:
--   done    each lease has its word
--   behind  more was due than one call ends
--
-- With:
--   each lease:
--     word  terminated|expired|ended|used  it was live; it had ended by time, and no tombstone said so yet; it had ended before,
--           or there never was one, or its data was lost. Then too no token brings it back. Or its seat is in use, and it goes on
--     held  ms  how long it was held

redis.call('PERSIST', clock)
evaluate_after_events(evaluations)

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local period = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0))
local index = open_index(config, who, seats, holders, lent, idle, held)
mark()
if index and (index.lent_seats or index.per_holder or index.queues) then
  -- What ended before this is charged before this, and frees no seat that is freed by this.
  if end_due(leases, expired, events, period, 64, on_end(index)) == 64 then
    return answer('behind')
  end
end

local function block_if_asked(holder)
  if block_for > 0 and holder ~= '' then
    if tenant_count == 0 then
      block(blocks, block_notes, holder, now + block_for, by, reason)
    end
    for i = 1, tenant_count do
      block(blocks, block_notes, holder .. '\1' .. ARGV[tenant_of + i], now + block_for, by, reason)
    end
  end
end
block_if_asked(blocked)
-- A pool that is gone has a mark already.
if marks and redis.call('EXISTS', config) == 1 then
  end_until(ended_mark, last_fence(), reason, block_for > 0 and blocked ~= '' and now + block_for or 0, keep)
end

-- Ending it would free no seat that nobody uses: a named one stays its holder's, and a shared one is in use by another lease.
local function is_used(id)
  local kind, _, _, holder = seat_of(index, id)
  return kind == 'n' or (kind and index.per_holder and holder ~= '' and not shared_seat_is_idle(index, holder))
end
-- Before the first end: the leases of one holder share the seat, and go together.
local used = {}
for i = 1, unused and index and lease_count or 0 do
  used[i] = is_used(ARGV[id_of + i])
end

for i = 1, lease_count do
  local id, tombstone = ARGV[id_of + i], KEYS[tombstone_of + i]
  local record = read_record(records, id)
  local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
  if score > live_from(period) and used[i] then
    add_lease('used', 0)
  elseif score > live_from(period) then
    local holder, tenant = record and record[HOLDER] or '', record and record[TENANT] or ''
    take_out(leases, id, int(score))
    forget_records(records, record and { id, record.packed } or {}, keep)
    write_tombstone(tombstone, keep, 'reason', 'terminated', 'ended', int(now), 'message', reason,
      'blocked_until', int(block_for > 0 and holder ~= '' and now + block_for or 0))
    record_event(events, 'ended', id, now, holder, tenant, 'terminated', index and seat_freed(index, now, id))
    block_if_asked(holder)
    local held = math.max(now - tonumber(record and record[STARTED] or now), 0)
    add_lease('terminated', held)
  else
    -- A lease that has just expired could still be resumed, and one of which nothing is known be rebuilt; not after this.
    local known = redis.call('HGET', tombstone, 'reason')
    local at = score > 0 and ends_at(score, period) or tonumber(redis.call('ZSCORE', expired, id) or 0)
    if at > 0 or known == 'expired' or not (known or record) then
      if score > 0 then
        take_out(leases, id, int(score))
        record_event(events, 'ended', id, at, '', '', 'expired', index and seat_freed(index, at, id))
      end
      undo_member(expired, id)
      redis.call('ZREM', expired, id)
      forget_records(records, record and { id, record.packed } or {}, keep)
      write_tombstone(tombstone, keep, 'reason', 'terminated', 'ended', int(now), 'message', reason, 'blocked_until', '0')
    end
    local word, held = at > 0 and 'expired' or 'ended', math.max(at - tonumber(record and record[STARTED] or at), 0)
    add_lease(word, held)
  end
end
hand_on({ queue = queue, waiting = waiting, tickets = tickets, line = line, heads = heads, called = called }, index, config)
return answer('done')
