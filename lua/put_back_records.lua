-- Puts back the access keys or the webhooks that Redis lost, from what a node remembers. A newer revision wins.
--
-- The prelude is not joined here: they belong to no bucket, and no time matters.
--
-- Keys of records:
--   revision  STRING  grows with every change of a record
--   records   HASH    id -> the record, JSON
--
-- Arguments:
--   remembered  count  revision that the node knows
--   each record:
--     id    text  its id
--     text  json  the record
--
-- Returns:
--   put   they are back; one that was made after the loss is kept
--   kept  what is there is not older

if tonumber(redis.call('GET', revision) or 0) >= remembered then
  return answer('kept')
end

for i = 1, record_count do
  local id = ARGV[id_of + i]
  if redis.call('HSETNX', records, id, ARGV[text_of + i]) == 1 then
    undo_by('HDEL', records, id)
  end
end
redis.call('SET', revision, string.format('%.0f', remembered))
return answer('put')
