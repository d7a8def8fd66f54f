-- Joined into scripts that tell of alerts: how one gets into the outbox of its bucket.

-- Appends an alert. `name` is its type, for pool.level with the percentage behind a colon. The outbox is short: nodes
-- take over what is in it within a second or two.
local function tell(outbox, name, happens, alert)
  local kind, percent = string.match(name, '^([^:]+):?(%d*)$')
  alert.type, alert.state, alert.percent = kind, happens, tonumber(percent)
  undo_by('XDEL', outbox, redis.call('XADD', outbox, 'MAXLEN', '~', 1000, '*', 'alert', cjson.encode(alert)))
end
