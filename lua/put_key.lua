-- Creates, changes or revokes an access key; nodes notice by the revision.
--
-- The prelude is not joined here: keys belong to no bucket, and no time matters.
--
-- KEYS[1]  revision  STRING  grows with every change of a key
-- KEYS[2]  keys      HASH    key id -> its record, JSON
--
-- ARGV[1]  id      id of the key
-- ARGV[2]  expect  the record that it must have; empty if there must be none
-- ARGV[3]  record  its new record; empty to revoke it
--
-- Returns { status, revision }
--   put       it is as asked, now or already
--   conflict  its record is another one

local present = redis.call('HGET', KEYS[2], ARGV[1]) or ''

-- The same request again, because the reply was lost on the way to the node.
if present == ARGV[3] then
  return { 'put', redis.call('GET', KEYS[1]) or '0' }
end
if present ~= ARGV[2] then
  return { 'conflict', redis.call('GET', KEYS[1]) or '0' }
end

undo_fields(KEYS[2], ARGV[1])
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[2], ARGV[1])
else
  redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
end
return { 'put', redis.call('INCR', KEYS[1]) }
