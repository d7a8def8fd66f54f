-- Joined in front of every script: what makes it all or nothing. Redis does not take back what a script wrote before one of its
-- calls failed, because a right was missing or a key held something else. Each write that the same request would not simply
-- write again notes the command that undoes it.

local undo = {}

-- Notes the command that takes back the last write. They run from the last to the first.
local function undo_by(...)
  undo[#undo + 1] = { ... }
end

-- The same ahead of a write, by what is there now: fields of a hash, a member of a sorted set. It costs a read, so only what is
-- rare does it like this.
local function undo_fields(hash, ...)
  local fields = { ... }
  local values = redis.call('HMGET', hash, ...)
  for i = 1, #fields do
    if values[i] then
      undo_by('HSET', hash, fields[i], values[i])
    else
      undo_by('HDEL', hash, fields[i])
    end
  end
end

local function undo_member(set, member)
  local score = redis.call('ZSCORE', set, member)
  if score then
    undo_by('ZADD', set, score, member)
  else
    undo_by('ZREM', set, member)
  end
end

-- Adds to a count in a hash, and notes how that is taken back. Returns the sum.
local function add(hash, field, by)
  local sum = redis.call('HINCRBY', hash, field, by)
  if sum == by then
    undo_by('HDEL', hash, field)
  else
    undo_by('HINCRBY', hash, field, -by)
  end
  return sum
end

-- Where it is noted that something happened in the pool, for its alerts.
local noted_in

local function evaluate_after_events(evaluations)
  noted_in = evaluations
end

-- Notes it with the first event of a script. In a pool that is used it is noted already, as a rule.
local function note_event(events, at)
  if noted_in then
    local pool = string.match(events, '}:(.+):events$')
    local noted = redis.call('ZSCORE', noted_in, pool)
    if not noted then
      redis.call('ZADD', noted_in, string.format('%d', at), pool)
      undo_by('ZREM', noted_in, pool)
    elseif tonumber(noted) > at then
      redis.call('ZADD', noted_in, string.format('%d', at), pool)
      undo_by('ZADD', noted_in, noted, pool)
    end
    noted_in = nil
  end
end

-- The message for those who wait, and its channel.
local channel, message

local function notify(to, text)
  channel, message = to, text
end

-- Runs a script. Waiters are notified at the end and in one message; no decision fails because of it.
local function transaction(script)
  local done, reply = pcall(script)
  if not done then
    for i = #undo, 1, -1 do
      redis.pcall(unpack(undo[i]))
    end
    error(reply, 0)
  end
  if channel then
    redis.pcall('PUBLISH', channel, message)
  end
  return reply
end

