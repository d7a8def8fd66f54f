-- Joined behind record.lua in scripts that extend many leases in one call.

-- Extends those of the n leases behind ARGV[before] that live. Returns a character for each: 1 extended, 0 not.
--
-- Whoever is in `leases` lives, but for those that ended in the last second and that no sweep has taken away. These
-- are few and come first, so they are looked for, and not the score of each lease: that would double the cost.
local function extend(leases, ttl, linger, before, n)
  local from, expires_at = live_from(lease_period(ttl, linger)), int(now + ttl)
  local dead = redis.call('ZRANGE', leases, '-inf', int(from), 'BYSCORE', 'LIMIT', 0, 64)
  local ended, scores = {}, nil
  for i = 1, #dead do
    ended[dead[i]] = true
  end
  if #dead == 64 then
    scores = redis.call('ZMSCORE', leases, unpack(ARGV, before + 1, before + n))
    for i = 1, n do
      ended[ARGV[before + i]] = not scores[i] or tonumber(scores[i]) <= from
    end
  end
  local beats, size = {}, 0
  for i = before + 1, before + n do
    if not ended[ARGV[i]] then
      beats[size + 1], beats[size + 2] = expires_at, ARGV[i]
      size = size + 2
    end
  end
  -- GT: a shorter TTL does not take back what was promised before; resume.lua answers the end of that.
  if size > 0 and redis.call('ZADD', leases, 'XX', 'GT', 'CH', unpack(beats)) == n then
    return string.rep('1', n)
  end
  -- An extended lease has exactly this score, even if it is listed twice or has beaten in the same millisecond.
  scores = redis.call('ZMSCORE', leases, unpack(ARGV, before + 1, before + n))
  local marks = {}
  for i = 1, n do
    marks[i] = scores[i] and tonumber(scores[i]) == now + ttl and '1' or '0'
  end
  return table.concat(marks)
end

-- Turns the marks of those for which an operator left something: resume.lua takes it. They have been extended.
local function leave_to_resume(marks, noticed, before, n)
  local is_noticed, left = {}, {}
  for id in string.gmatch(noticed, '%S+') do
    is_noticed[id] = true
  end
  for i = 1, n do
    left[i] = is_noticed[ARGV[before + i]] and '0' or string.sub(marks, i, i)
  end
  return table.concat(left)
end

-- Marks those that are extended and whose tokens may not know what a heartbeat has changed since: as long as a token from before such a
-- change can be shown, the record is what counts. Only then is it read with every heartbeat.
local function mark_unread(marks, details_until)
  if details_until and tonumber(details_until) > now then
    return (string.gsub(marks, '1', '2'))
  end
  return marks
end

-- How long the lease with this id would live without its heartbeat; nil if that is not known.
local function rest_of(leases, id, records)
  local score = tonumber(redis.call('ZSCORE', leases, id) or 0)
  local record = score > 0 and read_record(records, id)
  if score > 0 and not (record and tonumber(record[LEFT]) == score) then
    return score - now
  end
end

-- The records of these leases, by id.
local function packed_by_id(records, ids)
  local packed, by_id = redis.call('HMGET', records, unpack(ids)), {}
  for i = 1, #ids do
    by_id[ids[i]] = packed[i] or nil
  end
  return by_id
end

-- Writes what a heartbeat says of a lease that lives into its record, one of `packed_of`, and reads that if it is asked for. Returns label,
-- activities, whether the record is there, and whether something was changed.
local function keep_details(records, packed_of, id, is_private, reads, new_label, new_activities)
  if not reads or not packed_of[id] then
    return '', '', packed_of[id] ~= nil
  end
  local record, is_changed = parts_of_record(packed_of[id]), false
  -- In a pool that keeps no names a label is one too, and an activity may hold one.
  if new_label .. new_activities ~= '' and not is_private then
    record[LABEL] = new_label ~= '' and string.sub(new_label, 2) or record[LABEL]
    record[ACTIVITIES] = new_activities ~= '' and string.sub(new_activities, 2) or record[ACTIVITIES]
    packed_of[id] = write_record(records, id, record)
    is_changed = packed_of[id] ~= record.packed
  end
  return record[LABEL], record[ACTIVITIES], true, is_changed
end
