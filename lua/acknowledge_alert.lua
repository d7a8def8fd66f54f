-- Notes who has acknowledged an alert, or that nobody has. It holds until the alert ends.
--
-- Keys of alerts:
--   raised        HASH  id of each alert that is raised now -> the alert, JSON
--   acknowledged  HASH  id of a raised alert -> who acknowledged it, JSON
--
-- Arguments:
--   id      text   the alert
--   record  json?  who acknowledges it; none to withdraw that
--
-- Returns:
--   noted       it is as asked, now or already
--   not_raised  there is no such alert, or no longer
--
-- With:
--   kept  text  who acknowledged it first, also of one that is withdrawn

if redis.call('HEXISTS', raised, id) == 0 then
  return answer('not_raised')
end
local present = redis.call('HGET', acknowledged, id)
-- The last call of each, because nothing takes it back.
if record == '' then
  redis.call('HDEL', acknowledged, id)
elseif not present then
  redis.call('HSET', acknowledged, id, record)
end
return answer('noted', { kept = present or record })
