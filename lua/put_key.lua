-- Creates, changes or revokes an access key; nodes notice by the revision.
--
-- The prelude is not joined here: keys belong to no bucket, and no time matters.
--
-- Keys of records:
--   revision  STRING  grows with every change of a key
--   records   HASH    key id -> its record, JSON
--   changes   ZSET    revision and id of a key, parted by a colon -> the revision
--
-- Arguments:
--   id      text   id of the key
--   expect  json?  the record that it must have; none if there must be none
--   record  json?  its new record; none to revoke it
--
-- Returns:
--   put       it is as asked, now or already
--   conflict  its record is another one

local present = redis.call('HGET', records, id) or ''

-- The same request again, because the reply was lost on the way to the node.
if present == record then
  return answer('put')
end
if present ~= expect then
  return answer('conflict')
end

-- So that nodes read the keys that were changed and not all of them; who is further behind reads all.
local changed = (tonumber(redis.call('GET', revision)) or 0) + 1
local change = string.format('%d:%s', changed, id)
redis.call('ZADD', changes, changed, change)
undo_by('ZREM', changes, change)
undo_fields(records, id)
if record == '' then
  redis.call('HDEL', records, id)
else
  redis.call('HSET', records, id, record)
end
redis.call('INCR', revision)
redis.pcall('ZREMRANGEBYRANK', changes, 0, -1001)
return answer('put')
