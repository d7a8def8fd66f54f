-- Puts back the access keys or the webhooks that Redis lost, from what a node remembers. A newer revision wins.
--
-- The prelude is not joined here: they belong to no bucket, and no time matters.
--
-- KEYS[1]  revision  STRING  grows with every change of a record
-- KEYS[2]  records   HASH    id -> the record, JSON
--
-- ARGV[1]   remembered  revision that the node knows
-- ARGV[2..] records     an id, its record, and so on
--
-- Returns { status, revision }
--   put   they are back; one that was made after the loss is kept
--   kept  what is there is not older

local revision = tonumber(redis.call('GET', KEYS[1]) or 0)
if revision >= tonumber(ARGV[1]) then
  return { 'kept', string.format('%.0f', revision) }
end

for i = 2, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) == 1 then
    undo_by('HDEL', KEYS[2], ARGV[i])
  end
end
redis.call('SET', KEYS[1], ARGV[1])
return { 'put', ARGV[1] }
