-- Puts or ends a snooze: until its end no message says that one of its alerts begins.
--
-- Joined behind prelude.
--
-- Keys of alerts:
--   clock    HASH  the clock of what is done about alerts
--   snoozes  HASH  id -> which alerts, until when, and by whom, JSON
--
-- Arguments:
--   id       text   the snooze
--   record   json?  of it; none to end it
--   maximum  count  snoozes that there may be
--
-- Returns:
--   snoozed  it is there
--   ended    it is not there
--   full     there are as many as may be
--
-- With:
--   former  text  of the snooze that was there

-- What is over counts no more.
local all = redis.call('HGETALL', snoozes)
local count = #all / 2
for at = 1, #all, 2 do
  if all[at] ~= id and cjson.decode(all[at + 1]).until_ms <= now then
    undo_fields(snoozes, all[at])
    redis.call('HDEL', snoozes, all[at])
    count = count - 1
  end
end
local former = redis.call('HGET', snoozes, id)
if record ~= '' and not former and count >= maximum then
  return answer('full')
end
undo_fields(snoozes, id)
if record == '' then
  redis.call('HDEL', snoozes, id)
  return answer('ended', { former = former or '' })
end
redis.call('HSET', snoozes, id, record)
return answer('snoozed', { former = former or '' })
