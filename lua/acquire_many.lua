-- Gives many holders a seat each in a pool without rules, one after the other as if each had asked alone. What the others get is
-- theirs whatever becomes of one.
--
-- KEYS[1]    clock    HASH    the bucket's clock
-- KEYS[2]    due      ZSET    pool -> lower bound of its earliest expiry, ms
-- KEYS[3]    config   HASH    the pool's policy
-- KEYS[4]    leases   ZSET    lease id -> expiry, ms
-- KEYS[5]    expired  ZSET    lease id -> end, ms; not yet in a tombstone
-- KEYS[6]    events   STREAM  the pool's history
-- KEYS[7]    denied   ZSET    holder -> begin of its present run of denials, ms
-- KEYS[8]    blocks   ZSET    holder -> until when it may not acquire, ms
-- KEYS[9]    records  HASH    lease id -> what is known of the lease
-- KEYS[10]   denials  HASH    minute and code -> how many acquires were denied
-- KEYS[11]   notes    HASH    holder -> until when it is blocked, since when, by whom and why
-- KEYS[12..] keys     two for each: tombstone, how the lease with this id ended, if there was one; and repeat, the id of the lease
--                     that this idempotency key got, or the tombstone again where there is no key
--
-- ARGV[1]    pool       name of the pool, for the due index
-- ARGV[2]    margin_ms  how long the records outlive leases that are not renewed
-- ARGV[3..]  asked      six for each, at most 64 of them: id for the new lease, holder, tenant, label, activities and platform, as in
--                       acquire.lua
--
-- Returns { status, seq, now_ms, ttl_ms, renewed_with, changed_ms, generation, capacity, in_use, then for each eight fields: word,
--           id, score_ms, expires_at_ms, fence, in_use, retry_after_ms, detail }
--   done      each has its word: granted, existing (detail is its record, packed), pool_full, holder_blocked (detail is the
--             reason) or recovering; renewed_with is the TTL before the last change of it, which was at changed_ms
--   rules     the pool has rules, or an index for rules to come is being made: acquire_by_rules.lua decides, about one at a time
--   recovering  data was lost, and the pool was not put back yet
--   no_pool   there is no such pool
--   unopened  the bucket has no clock; only three fields

local config, denied, records = KEYS[3], KEYS[7], KEYS[9]

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'rules', 'indexing', 'linger_ms', 'ttl_before_ms', 'ttl_changed_ms')
local capacity, ttl = tonumber(policy[1]), tonumber(policy[2])
if not capacity then
  return { may_be_lost() and 'recovering' or 'no_pool', int(seq), int(now), '0', '0', '0', int(generation), '0', '0' }
end
if policy[3] or (policy[4] and now <= tonumber(policy[4])) then
  return { 'rules', int(seq), int(now), '0', '0', '0', int(generation), '0', '0' }
end

local pool = { name = ARGV[1], due = KEYS[2], leases = KEYS[4], expired = KEYS[5], events = KEYS[6], denied = denied,
  blocks = KEYS[8], records = records, denials = KEYS[10], notes = KEYS[11], capacity = capacity, ttl = ttl,
  period = lease_period(ttl, tonumber(policy[5])), margin_ms = tonumber(ARGV[2]) }
local reply = { 'done', int(seq), int(now), int(ttl), policy[6] or '0', policy[7] or '0', int(generation), int(capacity), '0' }
local served = {}
for i = 3, #ARGV, 6 do
  local place = 12 + (i - 3) / 3
  local tombstone, repeated = KEYS[place], KEYS[place + 1]
  local word, known = decide(pool, { id = ARGV[i], holder = ARGV[i + 1], tenant = ARGV[i + 2], label = ARGV[i + 3],
    activities = ARGV[i + 4], platform = ARGV[i + 5], tombstone = tombstone, repeated = repeated ~= tombstone and repeated or nil })
  if word == 'granted' then
    served[#served + 1] = ARGV[i + 1]
  elseif word == 'existing' then
    known.detail = redis.call('HGET', records, known.id) or ''
  end
  local at = #reply
  reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = word, known.id or '', int(known.score or 0), int(known.expires_at or 0)
  reply[at + 5], reply[at + 6] = known.fence or '0', int(pool.in_use)
  reply[at + 7], reply[at + 8] = int(known.retry or 0), known.detail or ''
end
reply[2], reply[9] = int(seq), int(pool.in_use or 0)
if #served > 0 then
  -- The last call, because nothing takes it back.
  redis.call('ZREM', denied, unpack(served))
end
return reply
