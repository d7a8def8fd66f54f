-- Joined behind the prelude of scripts that need to know how many seats a pool has now.

-- The seats at an instant: those of the last change that is not later, or the base. `schedule` is a line of
-- "<instant, ms> <seats>" in order, worked out from the entries when the policy was put.
local function capacity_at(base, schedule, at)
  local capacity = tonumber(base)
  if schedule then
    for from, seats in string.gmatch(schedule, '(%d+) (%d+)') do
      if tonumber(from) > at then
        break
      end
      capacity = tonumber(seats)
    end
  end
  return capacity
end

-- The next change after an instant and the seats from then on; nil without one.
local function next_change(schedule, at)
  if schedule then
    for from, seats in string.gmatch(schedule, '(%d+) (%d+)') do
      if tonumber(from) > at then
        return tonumber(from), tonumber(seats)
      end
    end
  end
  return nil
end

-- Writes the changes that have come since the last look into the history, each with its exact instant.
local function note_changes(config, schedule, noted, events, due, pool)
  local at, seats = next_change(schedule, noted)
  while at and at <= now do
    record_event(events, 'configured', '', at, '', '', int(seats))
    redis.call('HSET', config, 'noted', int(at))
    undo_by('HSET', config, 'noted', int(noted))
    at, seats = next_change(schedule, at)
  end
  if at then
    redis.call('ZADD', due, 'LT', int(at), pool)
  end
end
