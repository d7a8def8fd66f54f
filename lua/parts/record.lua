-- Joined behind the prelude in scripts that make, read or end records: what is known of a lease until its end is
-- written down. The records of a pool are one hash, because a key for each would cost three times what is in it.
--
-- A record is parted by \1, which none of its parts contains; empty ones at the end are left out. STARTED is empty
-- where the fence has it, as it does unless two leases began within a microsecond: a fence is the instant of the
-- grant in microseconds. src/store/record.rs reads the same.
-- GIVEN is the holder as it was given, where the pool knows it by another form; ACTIVE is when its user was last active, ms, where that
-- is reported and kept; WHY is why a policy ended the lease, until that stands in its tombstone.
local FENCE, HOLDER, TENANT, STARTED, SEAT, PLATFORM, LABEL, ACTIVITIES, BEAT, LEFT, GIVEN, ACTIVE, WHY = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13

-- How long it is known which lease an idempotency key got, beside a TTL: as long as a token is good, because an outage does not
-- stop what Redis itself forgets.
local REPEATED_MS = 86400000

-- Remembers the lease, or the ticket, that an idempotency key got. `before` is what it had.
local function remember_key(repeated, id, ttl, before)
  redis.call('SET', repeated, id, 'PX', int(ttl + REPEATED_MS))
  if before then
    undo_by('SET', repeated, before, 'KEEPTTL')
  else
    undo_by('DEL', repeated)
  end
end

local function begin_of(fence)
  return int(math.floor((tonumber(fence) or 0) / 1000))
end

-- All parts of a record.
local function parts_of_record(packed)
  local record = { packed = packed }
  for part in string.gmatch(packed .. '\1', '([^\1]*)\1') do
    record[#record + 1] = part
  end
  for part = #record + 1, WHY do
    record[part] = ''
  end
  if record[STARTED] == '' then
    record[STARTED] = begin_of(record[FENCE])
  end
  return record
end

-- The same of the record of a lease; nil without one.
local function read_record(records, id)
  local packed = redis.call('HGET', records, id)
  return packed and parts_of_record(packed) or nil
end

-- Of the last parts those may be missing that are empty.
local function packed_record(parts)
  return (string.gsub(table.concat(parts, '\1'), '\1+$', ''))
end

-- `packed` is what it replaces, if there was one. Returns the record as it is written.
local function write_record(records, id, record)
  if record[STARTED] == begin_of(record[FENCE]) then
    record[STARTED] = ''
  end
  local packed = packed_record(record)
  redis.call('HSET', records, id, packed)
  if record.packed then
    undo_by('HSET', records, id, record.packed)
  else
    undo_by('HDEL', records, id)
  end
  return packed
end

-- Forgets what is known of leases. `known` has their ids and records by turns, of those that have one.
local function forget_records(records, known, keep_ms)
  local ids = {}
  for i = 1, #known, 2 do
    ids[#ids + 1] = known[i]
  end
  if #ids > 0 then
    redis.call('HDEL', records, unpack(ids))
    undo_by('PEXPIRE', records, keep_ms)
    undo_by('HSET', records, unpack(known))
  end
end

-- Redis forgets the holders by itself after the last heartbeat. One TTL for all of a pool, so it is that of the
-- longest lease that there may be: one from before a change of the pool's TTL, too.
local function keep_records(records, ttl, margin_ms)
  redis.call('PEXPIRE', records, int(math.max(ttl, longest_ttl) + margin_ms))
end
