-- Joined behind record.lua in scripts by which heartbeats change labels and activities.

-- Notes in a pool's config that a heartbeat changed what tokens say, for as long as a token from before that can be shown; an hour more, so
-- that not every change writes it.
local function note_details(config, details_until)
  if tonumber(details_until or 0) < now + REPEATED_MS then
    undo_fields(config, 'details_until')
    redis.call('HSET', config, 'details_until', int(now + REPEATED_MS + 3600000))
  end
end
