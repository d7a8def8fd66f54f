-- Joined behind record.lua in scripts that take in heartbeats of pools with `idle`: notes when users were last active.

-- The parts of a record around ACTIVITIES and ACTIVE. No more of it is read, because this comes with many heartbeats.
local PART = '[^\1]*\1'
local UP_TO_ACTIVE = '^(' .. string.rep(PART, LABEL) .. ')([^\1]*)(\1' .. string.rep(PART, GIVEN - ACTIVITIES) .. ')[^\1]*\1([^\1]*)'

-- Writes when the users of these leases were last active, ms; '' where that is not known. Whoever works on something is active.
local function note_active(records, ids, active_at)
  local packed, written, back = redis.call('HMGET', records, unpack(ids)), {}, { 'HSET', records }
  for i = 1, #ids do
    if packed[i] then
      local before, activities, between, why = string.match(packed[i] .. string.rep('\1', WHY), UP_TO_ACTIVE)
      local at = activities ~= '' and activities ~= '[]' and int(now) or active_at[i]
      written[#written + 1], written[#written + 2] = ids[i], (string.gsub(before .. activities .. between .. at .. '\1' .. why, '\1+$', ''))
      back[#back + 1], back[#back + 2] = ids[i], packed[i]
    end
  end
  if #written > 0 then
    redis.call('HSET', records, unpack(written))
    undo_by(unpack(back))
  end
end
