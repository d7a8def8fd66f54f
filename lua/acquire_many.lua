-- Gives many holders a seat each in a pool without rules, one after the other as if each had asked alone. What the others get is
-- theirs whatever becomes of one.
--
-- Joined behind prelude, record, blocks, newcomer.
--
-- Keys of a pool:
--   clock        HASH    the bucket's clock
--   due          ZSET    pool -> lower bound of its earliest expiry, ms
--   config       HASH    the pool's policy
--   leases       ZSET    lease id -> expiry, ms
--   expired      ZSET    lease id -> end, ms; not yet in a tombstone
--   events       STREAM  the pool's history
--   denied       ZSET    holder -> start of its present run of denials, ms
--   blocks       ZSET    holder -> end of its block, ms
--   records      HASH    lease id -> what is known of the lease
--   denials      HASH    minute and code -> how many acquires were denied
--   block_notes  HASH    holder -> end and start of its block, its author and its reason
--   each request:
--     tombstone(id)  HASH    how the lease with this id ended, if there was one
--     repeated(...)  STRING  id of the lease that this idempotency key got; the tombstone again where there is no key
--
-- Arguments:
--   name    pool  the pool, for the due index
--   margin  ms    how long the records outlive leases that are not renewed
--   incarnation  count  of the pool that is asked, as the node knows it; 0 if it does not
--   each request:  as in acquire.lua, at most 64
--     id          lease  id for the new lease
--     holder      text?  who asks; none is anonymous
--     tenant      text?  sub-account
--     label       text?  what operators read next to the holder
--     activities  json?  array of what the holder is working on
--     platform    text?  what the holder runs on
--
-- Returns:
--   done        each has its word
--   changed     there is another pool of this name by now
--   rules       the pool has rules, or an index for rules to come is being made: acquire_by_rules.lua decides, about one at a time
--   recovering  data was lost, and the pool was not put back yet
--   no_pool     there is no such pool
--
-- With:
--   ttl           ms         of the pool
--   renewed_with  ms         the TTL before the last change of it
--   changed       timestamp  when that was
--   generation    count      of the bucket, for the token
--   capacity      count      seats of the pool
--   each request:
--     word         granted|existing|pool_full|holder_blocked|recovering  as in acquire.lua
--     id           lease?     the lease
--     score        number     of the lease that an idempotency key already has, ms
--     expires_at   timestamp  when the lease ends if it is not renewed
--     fence        count      of the lease
--     in_use       count      live leases behind this
--     retry_after  ms         time until the answer can be another
--     detail       text?      of an existing lease its record, packed; of a block the reason

local policy = redis.call('HMGET', config, 'capacity', 'ttl_ms', 'rules', 'indexing', 'linger_ms', 'ttl_before_ms', 'ttl_changed_ms',
  'incarnation')
local capacity, ttl = tonumber(policy[1]), tonumber(policy[2])
if not capacity then
  return answer(may_be_lost() and 'recovering' or 'no_pool')
end
-- One that is not known any more after a loss of data is taken for the same.
local present = tonumber(policy[8]) or 0
if incarnation > 0 and present > 0 and incarnation ~= present then
  return answer('changed')
end
if policy[3] or (policy[4] and now <= tonumber(policy[4])) then
  return answer('rules')
end

local pool = { name = name, due = due, leases = leases, expired = expired, events = events, denied = denied, blocks = blocks,
  records = records, denials = denials, notes = block_notes, capacity = capacity, ttl = ttl,
  period = lease_period(ttl, tonumber(policy[5])), margin_ms = margin }
local served = {}
for i = 1, request_count do
  local holder, tombstone, repeated = ARGV[holder_of + i], KEYS[tombstone_of + i], KEYS[repeated_of + i]
  local word, known = decide(pool, { id = ARGV[id_of + i], holder = holder, tenant = ARGV[tenant_of + i], label = ARGV[label_of + i],
    activities = ARGV[activities_of + i], platform = ARGV[platform_of + i], tombstone = tombstone,
    repeated = repeated ~= tombstone and repeated or nil })
  if word == 'granted' then
    served[#served + 1] = holder
  elseif word == 'existing' then
    known.detail = redis.call('HGET', records, known.id)
  end
  add_request(word, known.id or '', known.score or 0, known.expires_at or 0, known.fence or 0, pool.in_use, known.retry_after or 0,
    known.detail or '')
end
if #served > 0 then
  -- The last call, because nothing takes it back.
  redis.call('ZREM', denied, unpack(served))
end
return answer('done', { ttl = ttl, renewed_with = policy[6], changed = policy[7], generation = generation, capacity = capacity })
