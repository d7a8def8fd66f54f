-- Ends leases at once because an operator says so, with a reason that the holders read in their next renew. Those of a whole
-- holder, tenant or pool are marked first: also what has expired and could be resumed ends with that, found or not.
--
-- KEYS[1]     clock      HASH    the bucket's clock
-- KEYS[2]     config     HASH    the pool's policy
-- KEYS[3]     leases     ZSET    lease id -> expiry, ms
-- KEYS[4]     expired    ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[5]     events     STREAM  the pool's history
-- KEYS[6]     blocks     ZSET    holder -> until when it may not acquire, ms
-- KEYS[7]     who        HASH    lease id -> kind of seat, fence, tenant and holder
-- KEYS[8]     seats      HASH    seats in use: all, overdraft, named, t:<tenant>
-- KEYS[9]     holders    ZSET    holder, kind, tenant, fence and lease id; in this order
-- KEYS[10]    lent       HASH    seat-milliseconds of overdraft, by day
-- KEYS[11]    queue      ZSET    ticket -> order of arrival
-- KEYS[12]    records    HASH    lease id -> what is known of the lease
-- KEYS[13]    notes      HASH    holder -> until when it is blocked, since when, by whom and why
-- KEYS[14]    mark       HASH    what was ended at once of this holder, tenant or pool: up to which fence, and why
-- KEYS[15]    waiting    ZSET    ticket -> until when it has to ask again, ms
-- KEYS[16]    tickets    HASH    ticket -> what was asked for
-- KEYS[17]    line       ZSET    those who are to be called, and those who are called, by tenant and arrival
-- KEYS[18]    heads      ZSET    tenant -> arrival of its first one in line
-- KEYS[19]    called     ZSET    tenant, arrival and ticket -> until when a seat is kept for it, ms
-- KEYS[20..]  tombstone  HASH    one for each lease: how it ended
--
-- ARGV[1]    reason    what the holders read; empty for none
-- ARGV[2]    block_ms  how long the holders may not acquire; 0 for not at all
-- ARGV[3]    holder    blocked also if it has no lease; empty for none
-- ARGV[4]    keep_ms   how long the tombstones stay: as long as a token could be shown
-- ARGV[5]    marks     1 to set the mark, else 0
-- ARGV[6]    by        who does it, for the notes of a block
-- ARGV[7..]  ids       at most 200
--
-- Returns { 'done', seq, now_ms, then for each id a word and held_ms }
--   terminated  the lease was live, and was held for so long
--   expired     it had ended by time, and no tombstone said so yet
--   ended       it had ended before, or there never was one, or its data was lost; then too no token brings it back
--   unopened    the bucket has no clock; only three fields

redis.call('PERSIST', clock)

local config, leases, expired = KEYS[2], KEYS[3], KEYS[4]
local events, blocks, records = KEYS[5], KEYS[6], KEYS[12]
local reason, block_ms, blocked, keep_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local marks, by = ARGV[5] == '1', ARGV[6]

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms')
local period = lease_period(tonumber(policy[1] or 0), tonumber(policy[2] or 0))
local index = open_index(config, KEYS[7], KEYS[8], KEYS[9], KEYS[10])
mark()
if index and (index.lent_seats or index.per_holder or index.queues) then
  -- What ended before this is charged before this, and frees no seat that is freed by this.
  repeat until end_due(leases, expired, events, period, 64, on_end(index)) < 64
end

local function block_if_asked(holder)
  if block_ms > 0 and holder ~= '' then
    block(blocks, KEYS[13], holder, now + block_ms, by, reason)
  end
end
block_if_asked(blocked)
-- A pool that is gone has a mark already, which says so.
if marks and redis.call('EXISTS', config) == 1 then
  end_until(KEYS[14], last_fence(), reason, block_ms > 0 and blocked ~= '' and now + block_ms or 0, keep_ms)
end

local reply = { 'done', int(seq), int(now) }
for i = 7, #ARGV do
  local id, tombstone = ARGV[i], KEYS[i + 13]
  local record = read_record(records, id)
  local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
  if score > live_from(period) then
    local holder, tenant = record and record[HOLDER] or '', record and record[TENANT] or ''
    redis.call('ZREM', leases, id)
    undo_by('ZADD', leases, int(score), id)
    forget_record(records, id, record, keep_ms)
    write_tombstone(tombstone, keep_ms, 'reason', 'terminated', 'ended', int(now), 'message', reason,
      'blocked_until', int(block_ms > 0 and holder ~= '' and now + block_ms or 0))
    record_event(events, 'ended', id, now, holder, tenant, 'terminated', index and seat_freed(index, now, id))
    block_if_asked(holder)
    reply[#reply + 1] = 'terminated'
    reply[#reply + 1] = int(math.max(now - tonumber(record and record[STARTED] or now), 0))
  else
    -- A lease that has just expired could still be resumed, and one of which nothing is known be rebuilt; not after this.
    local known = redis.call('HGET', tombstone, 'reason')
    local at = score > 0 and ends_at(score, period) or tonumber(redis.call('ZSCORE', expired, id) or 0)
    if at > 0 or known == 'expired' or not (known or record) then
      if score > 0 then
        redis.call('ZREM', leases, id)
        undo_by('ZADD', leases, int(score), id)
        record_event(events, 'ended', id, at, '', '', 'expired', index and seat_freed(index, at, id))
      end
      undo_member(expired, id)
      redis.call('ZREM', expired, id)
      forget_record(records, id, record, keep_ms)
      write_tombstone(tombstone, keep_ms, 'reason', 'terminated', 'ended', int(now), 'message', reason, 'blocked_until', '0')
    end
    reply[#reply + 1] = at > 0 and 'expired' or 'ended'
    reply[#reply + 1] = int(math.max(at - tonumber(record and record[STARTED] or at), 0))
  end
end
hand_on({ queue = KEYS[11], waiting = KEYS[15], tickets = KEYS[16], line = KEYS[17], heads = KEYS[18], called = KEYS[19] }, index, config)
return reply
