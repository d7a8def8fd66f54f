-- Ends leases at once because an operator says so, with a reason that the holders read in their next renew.
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
-- KEYS[13..]  tombstone  HASH    one for each lease: how it ended
--
-- ARGV[1]    reason    what the holders read; empty for none
-- ARGV[2]    block_ms  how long the holders may not acquire; 0 for not at all
-- ARGV[3]    holder    blocked also if it has no lease; empty for none
-- ARGV[4]    keep_ms   how long the tombstones stay: as long as a token could be shown
-- ARGV[5..]  ids       at most 200
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

local ttl = tonumber(redis.call('HGET', config, 'ttl_ms') or 0)
local index = open_index(config, KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11])
mark()
if index and (index.lent_seats or index.per_holder) then
  -- What ended before this is charged before this, and frees no seat that is freed by this.
  repeat until end_due(leases, expired, events, ttl, 64, on_end(index)) < 64
end

local function block(holder)
  if block_ms > 0 and holder ~= '' then
    redis.call('ZADD', blocks, 'GT', int(now + block_ms), holder)
  end
end
block(blocked)

local reply = { 'done', int(seq), int(now) }
for i = 5, #ARGV do
  local id, tombstone = ARGV[i], KEYS[i + 8]
  local record = read_record(records, id)
  local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
  if score > live_from(ttl) then
    local holder, tenant = record and record[HOLDER] or '', record and record[TENANT] or ''
    redis.call('ZREM', leases, id)
    redis.call('HDEL', records, id)
    redis.call('DEL', tombstone)
    redis.call('HSET', tombstone, 'reason', 'terminated', 'ended', int(now), 'message', reason,
      'blocked_until', int(block_ms > 0 and holder ~= '' and now + block_ms or 0))
    redis.call('PEXPIRE', tombstone, keep_ms)
    record_event(events, 'ended', id, now, holder, tenant, 'terminated', index and seat_freed(index, now, id))
    block(holder)
    reply[#reply + 1] = 'terminated'
    reply[#reply + 1] = int(math.max(now - tonumber(record and record[STARTED] or now), 0))
  else
    -- A lease that has just expired could still be resumed, and one of which nothing is known be rebuilt; not after this.
    local known = redis.call('HGET', tombstone, 'reason')
    local at = score > 0 and ends_at(score, ttl) or tonumber(redis.call('ZSCORE', expired, id) or 0)
    if at > 0 or known == 'expired' or not (known or record) then
      if score > 0 then
        redis.call('ZREM', leases, id)
        record_event(events, 'ended', id, at, '', '', 'expired', index and seat_freed(index, at, id))
      end
      redis.call('ZREM', expired, id)
      redis.call('HDEL', records, id)
      redis.call('DEL', tombstone)
      redis.call('HSET', tombstone, 'reason', 'terminated', 'ended', int(now), 'message', reason, 'blocked_until', '0')
      redis.call('PEXPIRE', tombstone, keep_ms)
    end
    reply[#reply + 1] = at > 0 and 'expired' or 'ended'
    reply[#reply + 1] = int(math.max(at - tonumber(record and record[STARTED] or at), 0))
  end
end
return reply
