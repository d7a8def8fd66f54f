-- Joined into scripts that tell of alerts: how one gets into the outbox of its bucket.

-- Appends an alert. `name` is its type, for pool.level with the percentage behind a colon. Nodes take over what is in
-- the outbox within a second or two; it has room for all pools of a bucket at once.
local function tell(outbox, name, happens, alert)
  local kind, percent = string.match(name, '^([^:]+):?(%d*)$')
  alert.type, alert.state, alert.percent = kind, happens, tonumber(percent)
  undo_by('XDEL', outbox, redis.call('XADD', outbox, 'MAXLEN', '~', 10000, '*', 'alert', cjson.encode(alert)))
end
