-- Leaves something for the next heartbeats of some leases: a notice, or that they end once they have no activities. The config has
-- the ids, so that a pool without any pays nothing for it; renew.lua leaves these leases to resume.lua, which takes it.
--
-- Joined behind prelude.
--
-- Keys of a pool:
--   clock    HASH  the bucket's clock
--   config   HASH  the pool's policy
--   leases   ZSET  lease id -> expiry, ms
--   notices  HASH  lease id, behind n: or i: -> what is left for it; behind q: the notices after the first, parted by \2
--
-- Arguments:
--   kind   notice|end  what is left
--   text   text        of the notice behind its instant; or how long to block (and behind it, parted by \2,
--                      for which tenants alone), who does it and the reason, parted by \1
--   keep   ms          how long it is kept at most
--   limit  count       most leases of the pool for which something is left
--   most   count       most notices that wait for one lease
--   each lease:  at most 1000
--     id  lease  the lease
--
-- Returns:
--   left      it is there for all that live
--   full      as many notices as may wait for one of them do; nothing has changed
--   too_many  more leases than may be have something left for them; nothing has changed
--   no_pool   there is no such pool
--
-- With:
--   each lease:
--     lives  flag  its next heartbeat reads it

local policy = redis.call('HMGET', config, 'ttl_ms', 'linger_ms', 'noticed')
if not policy[1] then
  return answer('no_pool')
end
local from = live_from(lease_period(tonumber(policy[1]), tonumber(policy[2])))

local function is_live(id)
  return tonumber(redis.call('ZSCORE', leases, id) or 0) > from
end

-- Those that ended without another heartbeat are forgotten now.
local ids, known = {}, {}
for id in string.gmatch(policy[3] or '', '%S+') do
  if is_live(id) then
    ids[#ids + 1], known[id] = id, true
  end
end
local living, all_lives = {}, {}
for i = 1, lease_count do
  local id = ARGV[id_of + i]
  all_lives[i] = is_live(id)
  if all_lives[i] then
    living[#living + 1] = id
    if not known[id] then
      ids[#ids + 1], known[id] = id, true
    end
  end
end
if #ids > limit then
  return answer('too_many')
end
-- The notices of each, the next one first. One that is sent again because its reply was lost is not left twice.
local notices_of = {}
if kind == 'notice' then
  for i = 1, #living do
    local known = redis.call('HMGET', notices, 'n:' .. living[i], 'q:' .. living[i])
    local list, is_left = { known[1] or nil }, known[1] == text
    for later in string.gmatch(known[2] or '', '[^\2]+') do
      list[#list + 1], is_left = later, is_left or later == text
    end
    if not is_left then
      list[#list + 1] = text
    end
    if #list > most then
      return answer('full')
    end
    notices_of[i] = list
  end
end
for i = 1, lease_count do
  local lives = all_lives[i]
  add_lease(lives)
end
if #living > 0 then
  mark()
  undo_fields(config, 'noticed')
  redis.call('HSET', config, 'noticed', table.concat(ids, ' '))
  for i = 1, #living do
    local id, list = living[i], notices_of[i]
    undo_fields(notices, 'n:' .. id, 'q:' .. id, 'i:' .. id)
    if not list then
      redis.call('HSET', notices, 'i:' .. id, text)
    elseif #list > 1 then
      redis.call('HSET', notices, 'n:' .. id, list[1], 'q:' .. id, table.concat(list, '\2', 2))
    else
      redis.call('HSET', notices, 'n:' .. id, text)
    end
  end
  redis.call('PEXPIRE', notices, keep)
end
return answer('left')
