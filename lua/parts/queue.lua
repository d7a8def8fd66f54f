-- Joined behind seats.lua and yielding.lua: who waits for a seat, and who of them is called because there is one for it now. A seat that comes free
-- concerns one waiter: the script that frees it calls the next and names it in one message, and only that one has to ask.
--
-- `queue` has everybody who waits. `line` has those who are to be called (behind `w`), in an order in which the first of a tenant
-- is found at once, and those who are called (behind `c`): tenant and arrival, because `queue` finds a ticket by its arrival. Requests for the
-- seat of a holder stand there too (behind `r`): deadline and ticket, so in the order in which they were made.
-- `heads` has the first of each tenant that may get a seat. `called` has the end of the time for which a seat is kept for a ticket. A ticket that did not ask in time is in neither until it asks again: it is passed over.
-- All three follow from `queue`; nodes of the version before do not know them, so what is missing is filed, and a ghost is dropped.

-- A waiter at the front has to ask again after ASK_MS, one far behind after FAR_MS at most. A question may come LATE_MS later than
-- told; from then on no seat is kept for it, and after KEPT_MS more the place is lost.
local ASK_MS, FAR_MS, LATE_MS, KEPT_MS = 2000, 5400, 600, 3400
local SILENT_MS = ASK_MS + LATE_MS + KEPT_MS
-- Nobody is called whose connection broke so long ago: a page has time to load again.
local RELOAD_MS = 1000
-- Maximum of tickets that one script calls or passes over; about half a millisecond.
local CALLS = 64
-- So many of those who are called are looked at by one script, the first that would be passed over.
local CHECKED = 16
-- How long those who were served had waited is counted in WAITS buckets, each half as long again as the one before, and the first up to
-- 100 ms. At this count all counts are halved, so what is older fades.
local WAITS, WAITS_COUNTED = 32, 256

-- As live_from and ends_at in prelude.lua, for those who have to ask again in seconds: a pause is enough for a whole period more.
local function waits_from(period)
  local from = live_from(period)
  if now < pause_to + period then
    return math.min(pause_from, from)
  end
  return from
end

local function waits_until(deadline, period)
  local at = ends_at(deadline, period)
  if pause_from < deadline then
    return math.max(at, pause_to + period)
  end
  return at
end

-- How a request is found whose deadline is later than an instant, and how it stands in `line`.
local function request_of(deadline, id)
  return 'r' .. int(deadline) .. '\1' .. id
end

-- The requests for a seat that are open in a pool with `hand_over`: how many, and for how long the last of them is, ms.
local function open_requests(line, answer_ms)
  local last = redis.call('ZRANGE', line, '(s', '[r', 'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
  local rest = last and waits_until(tonumber(string.match(last, '^r(%d+)')), answer_ms) - now or 0
  if rest <= 0 then
    return 0, 0
  end
  return redis.call('ZLEXCOUNT', line, '(' .. request_of(waits_from(answer_ms), '\255'), '(s'), rest
end

-- The queue of a pool. `rules`, if given, are those of read_rules.
local function open_queue(keys, index, config, rules)
  index = index or { freed_of = {} }
  local queue, waiting, tickets = keys.queue, keys.waiting, keys.tickets
  local line, heads, called = keys.line, keys.heads, keys.called
  -- `more`: there may be more to call than one script does.
  local self = { more = false }
  local vacancies

  if not rules then
    local values = redis.call('HMGET', config, 'reserves', 'tenant_max', 'lent_ms', 'maintenance', 'version')
    rules = { capacity = capacity_at(index.capacity, index.schedule, now), reserves = values[1] or nil, tenant_max = values[2] or nil,
      lent_seats = index.lent_seats, lent_ms = values[3] or nil, maintenance = values[4] or nil, version = values[5] }
  end

  -- As it is in `line`. A letter for the length makes the order of strings that of numbers.
  local function entry_of(tenant, arrival)
    local digits = int(arrival)
    return tenant .. '\1' .. string.char(64 + #digits) .. digits
  end

  -- As it is in `called`, which is read without `queue`.
  local function called_entry_of(tenant, arrival, id)
    return entry_of(tenant, arrival) .. '\1' .. id
  end

  local function parts_of(entry)
    local tenant, arrival = string.match(entry, '^([^\1]*)\1.(%d+)')
    return tenant, tonumber(arrival)
  end

  local function first_of(tenant)
    local first = redis.call('ZRANGEBYLEX', line, '[w' .. tenant .. '\1', '(w' .. tenant .. '\2', 'LIMIT', 0, 1)[1]
    return first and string.sub(first, 2)
  end

  local function called_of(tenant)
    return redis.call('ZLEXCOUNT', line, '[c' .. tenant .. '\1', '(c' .. tenant .. '\2')
  end

  local function put_into_line(entry)
    if redis.call('ZADD', line, 0, entry) == 1 then
      undo_by('ZREM', line, entry)
      return true
    end
  end

  local function take_out_of_line(entry)
    if redis.call('ZREM', line, entry) == 1 then
      undo_by('ZADD', line, 0, entry)
      return true
    end
  end

  local function leave_out(tenant)
    undo_member(heads, tenant)
    redis.call('ZREM', heads, tenant)
  end

  -- Says anew who is the first of a tenant.
  local function find_head(tenant)
    local first = first_of(tenant)
    if first then
      local _, arrival = parts_of(first)
      undo_member(heads, tenant)
      redis.call('ZADD', heads, int(arrival), tenant)
    else
      leave_out(tenant)
    end
  end

  local function uncall(tenant, arrival, id)
    local entry = called_entry_of(tenant, arrival, id)
    local kept = redis.call('ZSCORE', called, entry)
    if kept then
      redis.call('ZREM', called, entry)
      undo_by('ZADD', called, kept, entry)
      take_out_of_line('c' .. entry_of(tenant, arrival))
      vacancies = nil
      return true
    end
  end

  -- How many of a tenant are in front of somebody of it.
  function self.ahead_in_tenant(tenant, arrival)
    local ahead, entry = 0, entry_of(tenant, arrival)
    for _, letter in ipairs({ 'w', 'c' }) do
      ahead = ahead + redis.call('ZLEXCOUNT', line, '[' .. letter .. tenant .. '\1', '(' .. letter .. entry)
    end
    return ahead
  end

  -- Puts a ticket into line that is neither there nor called.
  function self.file(tenant, arrival, id)
    local is_called = redis.call('ZSCORE', called, called_entry_of(tenant, arrival, id))
    if not is_called and put_into_line('w' .. entry_of(tenant, arrival)) then
      find_head(tenant)
    end
  end

  -- Files what came since the last time, in order, so that an unfinished list is right as far as it goes.
  function self.file_new()
    local last = redis.call('ZRANGE', queue, -1, -1, 'WITHSCORES')[2]
    local filed = redis.call('HGET', index.seats, 'filed') or '0'
    if not last or tonumber(last) <= tonumber(filed) then
      return
    end
    local new = redis.call('ZRANGE', queue, '(' .. filed, '+inf', 'BYSCORE', 'LIMIT', 0, CALLS, 'WITHSCORES')
    for i = 1, #new, 2 do
      self.file(string.match(redis.call('HGET', tickets, new[i]) or '', '^[^\1]*'), tonumber(new[i + 1]), new[i])
    end
    undo_fields(index.seats, 'filed')
    redis.call('HSET', index.seats, 'filed', int(tonumber(new[#new])))
  end

  -- Finds the first ones of all tenants anew, or of some: a tenant may have room again.
  function self.find_heads(limit)
    local from = '[w'
    for _ = 1, limit do
      local first = redis.call('ZRANGEBYLEX', line, from, '(x', 'LIMIT', 0, 1)[1]
      if not first then
        return
      end
      local tenant = parts_of(string.sub(first, 2))
      find_head(tenant)
      from = '(w' .. tenant .. '\2'
    end
  end

  -- How many seats of each tenant are in use that has a reserve.
  local function used_of(reserves)
    local used = {}
    for from = 1, #reserves, 500 do
      local fields = {}
      for i = from, math.min(from + 499, #reserves) do
        fields[#fields + 1] = 't:' .. reserves[i][1]
      end
      local counts = redis.call('HMGET', index.seats, unpack(fields))
      for i = 1, #fields do
        used[#used + 1] = tonumber(counts[i] or 0)
      end
    end
    return used
  end

  -- Keeps what is reserved for each tenant of this policy, and for no other.
  local function keep_reserves(reserves)
    local of, known = {}, redis.call('HGETALL', index.seats)
    for i = 1, #reserves do
      of['r:' .. reserves[i][1]] = true
    end
    for i = 1, #known, 2 do
      if string.sub(known[i], 1, 2) == 'r:' and not of[known[i]] then
        undo_fields(index.seats, known[i])
        redis.call('HDEL', index.seats, known[i])
      end
    end
    for from = 1, #reserves, 500 do
      local fields, values = {}, {}
      for i = from, math.min(from + 499, #reserves) do
        fields[#fields + 1] = 'r:' .. reserves[i][1]
        values[#values + 1], values[#values + 2] = fields[#fields], reserves[i][2]
      end
      undo_fields(index.seats, unpack(fields))
      redis.call('HSET', index.seats, unpack(values))
    end
  end

  -- Sums up what is reserved and not in use, and keeps that for the next one who asks.
  local function sum_up_unmet(summed_for)
    local reserves, sum = cjson.decode(rules.reserves), 0
    local used = used_of(reserves)
    for i = 1, #reserves do
      sum = sum + math.max(reserves[i][2] - used[i], 0)
    end
    if summed_for ~= rules.version then
      keep_reserves(reserves)
    end
    undo_fields(index.seats, 'unmet', 'unmet_of', 'unmet_at')
    redis.call('HSET', index.seats, 'unmet', sum, 'unmet_of', rules.version, 'unmet_at', int(seq))
    return sum
  end

  -- The sum of what is reserved and not in use. Who counts seats keeps it (seats.lua). It is made anew for another policy, and when
  -- a script has run in the bucket that does not keep it.
  local function sum_of_unmet()
    local known = redis.call('HMGET', index.seats, 'unmet', 'unmet_of', 'unmet_at')
    if known[1] and known[2] == rules.version and tonumber(known[3]) > older_seq then
      return tonumber(known[1])
    end
    return sum_up_unmet(known[2])
  end

  -- What could be given now: seats that are free, those that could be lent, and those that are kept for tenants (`unmet`);
  -- less what is called, of which `covered` takes seats that were kept for its tenant. `yield`, if it was asked for, is how many more are
  -- there that somebody gives way from; none while more are in use than there are.
  local function look()
    if vacancies then
      return vacancies
    end
    local counts = redis.call('HMGET', index.seats, 'all', 'overdraft')
    local v = { free = rules.capacity - tonumber(counts[1] or 0), lend = 0, unmet = {}, left = {}, unmet_sum = 0, covered = 0,
      called = 0 }
    v.fits = v.free + tonumber(counts[2] or 0) >= 0
    local some_wait = redis.call('EXISTS', queue) == 1
    if some_wait then
      v.called = redis.call('ZCARD', called)
    end
    if rules.lent_seats then
      local seats = tonumber(rules.lent_seats)
      local spent = tonumber(redis.call('HGET', index.lent, int(now - now % DAY)) or 0)
      if spent < tonumber(rules.lent_ms) then
        v.lend = math.max(math.min(seats - tonumber(counts[2] or 0), v.free + seats), 0)
      end
    end
    if rules.reserves and not some_wait then
      v.unmet_sum, v.is_summed = sum_of_unmet(), true
    elseif rules.reserves then
      -- Waiters are called by what is left for each tenant.
      local reserves = cjson.decode(rules.reserves)
      local used = used_of(reserves)
      for i = 1, #reserves do
        local tenant, unmet = reserves[i][1], math.max(reserves[i][2] - used[i], 0)
        local covered = v.called > 0 and math.min(called_of(tenant), unmet) or 0
        v.unmet[tenant], v.left[tenant] = unmet, unmet - covered
        v.unmet_sum, v.covered = v.unmet_sum + unmet, v.covered + covered
      end
    end
    vacancies = v
    return v
  end

  -- What is reserved for a tenant and not in use.
  local function unmet_of(v, tenant)
    if v.is_summed and not v.unmet[tenant] then
      local known = redis.call('HMGET', index.seats, 'r:' .. tenant, 't:' .. tenant)
      v.unmet[tenant] = math.max(tonumber(known[1] or 0) - tonumber(known[2] or 0), 0)
      v.left[tenant] = v.unmet[tenant]
    end
    return v.unmet[tenant] or 0
  end

  -- Whether there is a seat for somebody: one that is kept for its tenant, or one for anybody.
  local function has_kept(v, tenant)
    local left = unmet_of(v, tenant) > 0 and v.left[tenant] or 0
    local taken = math.min(v.called - v.covered, math.max(v.free - v.unmet_sum, 0))
    return left > 0 and v.free - taken - v.unmet_sum + left > 0
  end

  local function has_any(v)
    return math.max(v.free - v.unmet_sum, 0) + v.lend > v.called - v.covered
  end

  -- The same with the seats that somebody gives way from.
  local function has_any_by_yield(v)
    if has_any(v) then
      return true
    elseif not takes_seats(index) or not v.fits then
      return false
    end
    v.yield = v.yield or count_yielding(index, rules, CALLS)
    return math.max(v.free - v.unmet_sum, 0) + v.lend + v.yield > v.called - v.covered
  end

  local function most_of(tenant)
    return tonumber(tenant ~= '' and (redis.call('HGET', config, 'max:' .. tenant) or rules.tenant_max) or math.huge)
  end

  -- Whether a tenant has all that it may, with the seats that are kept for those of it who are called.
  local function is_full(tenant)
    local most = most_of(tenant)
    return most < math.huge
      and tonumber(redis.call('HGET', index.seats, 't:' .. tenant) or 0) + called_of(tenant) >= most
  end

  -- The tenant whose first one is next; nil when there is no seat for anybody who waits.
  local function next_tenant(v)
    if has_any_by_yield(v) then
      return redis.call('ZRANGE', heads, 0, 0)[1]
    end
    local next, came
    for tenant in pairs(v.left) do
      local arrival = has_kept(v, tenant) and tonumber(redis.call('ZSCORE', heads, tenant) or nil)
      if arrival and arrival < (came or math.huge) then
        next, came = tenant, arrival
      end
    end
    return next
  end

  -- Whether its holder has a seat by now that it shares when it asks.
  local function shares(id)
    local holder = index.per_holder and string.match(redis.call('HGET', tickets, id) or '', '^[^\1]*\1([^\1]*)') or ''
    return holder ~= '' and leases_of(index, holder .. '\1c') > 0
  end

  -- Until when a seat would be kept for a ticket; 0 for one that needs none.
  local function kept_until(id)
    if shares(id) then
      return 0
    end
    local asks_by = waits_until(tonumber(redis.call('ZSCORE', waiting, id) or 0), SILENT_MS) - KEPT_MS
    return math.min(asks_by, tonumber(redis.call('HGET', tickets, 'broken:' .. id) or asks_by))
  end

  -- Keeps no seat any longer for those who did not ask in time, nor for one that a node of the version before has served. After an
  -- outage a whole time to ask is left. Returns how many they were.
  local function drop_late()
    local first = redis.call('ZRANGE', called, 0, CHECKED - 1, 'WITHSCORES')
    if #first == 0 then
      return 0
    end
    local ids, late = {}, 0
    for i = 1, #first, 2 do
      ids[#ids + 1] = string.sub(first[i], -22)
    end
    local places, in_time = redis.call('ZMSCORE', queue, unpack(ids)), waits_from(ASK_MS + LATE_MS)
    for i = 1, #ids do
      local entry = first[2 * i - 1]
      if tonumber(first[2 * i]) <= in_time or not places[i] then
        local tenant, arrival = parts_of(entry)
        uncall(tenant, arrival, ids[i])
        find_head(tenant)
        late = late + 1
      end
    end
    return late
  end

  -- Notes that somebody is called, and until when a seat is kept for it.
  local function keep_seat(tenant, arrival, id, kept)
    local kept_for = called_entry_of(tenant, arrival, id)
    put_into_line('c' .. entry_of(tenant, arrival))
    redis.call('ZADD', called, int(kept), kept_for)
    undo_by('ZREM', called, kept_for)
  end

  -- Calls those who are next, for all seats that there are. The message names them.
  function self.call_next()
    if not rules.capacity or rules.maintenance or redis.call('EXISTS', queue) == 0 then
      return
    end
    self.file_new()
    local late = drop_late()
    for tenant in pairs(index.freed_of) do
      find_head(tenant)
    end
    local v, names = look(), {}
    local tenant
    for _ = 1, CALLS do
      tenant = next_tenant(v)
      if not tenant then
        break
      end
      local entry = first_of(tenant)
      if not entry or is_full(tenant) then
        leave_out(tenant)
      else
        local _, arrival = parts_of(entry)
        local id = redis.call('ZRANGE', queue, int(arrival), int(arrival), 'BYSCORE')[1]
        -- Without a ticket it is a ghost.
        local kept = id and kept_until(id) or 0
        take_out_of_line('w' .. entry)
        if kept > now then
          keep_seat(tenant, arrival, id, kept)
          if has_kept(v, tenant) then
            v.left[tenant], v.covered = v.left[tenant] - 1, v.covered + 1
          end
          v.called = v.called + 1
          names[#names + 1] = id
        end
        find_head(tenant)
      end
    end
    self.more = tenant ~= nil or late == CHECKED
    if self.more then
      -- Who listens looks again.
      names[#names + 1] = '+'
    end
    if #names > 0 then
      notify(queue, table.concat(names, ' '))
    end
  end

  -- Notes that somebody who waits asks the holders for a seat, for so long. Those whose time is over go.
  function self.request(id, answer_ms)
    local old = redis.call('ZRANGEBYLEX', line, '[r', '(' .. request_of(waits_from(answer_ms), '\255'), 'LIMIT', 0, CALLS)
    for i = 1, #old do
      take_out_of_line(old[i])
    end
    put_into_line(request_of(now + answer_ms, id))
    undo_fields(tickets, 'requested:' .. id)
    redis.call('HSET', tickets, 'requested:' .. id, int(now + answer_ms))
  end

  -- Whether somebody of `tenant` could have the seat of somebody of `giver`. What is reserved for the giver's tenant does not fall short by it.
  local function could_pass(giver, tenant)
    local v = look()
    if rules.maintenance or not rules.capacity or v.free < 0 then
      return false
    end
    local used = tonumber(redis.call('HGET', index.seats, 't:' .. tenant) or 0) + called_of(tenant)
    if used - (giver == tenant and 1 or 0) >= most_of(tenant) then
      return false
    elseif giver == tenant or not rules.reserves then
      return true
    end
    for _, reserve in ipairs(cjson.decode(rules.reserves)) do
      if reserve[1] == giver and tonumber(redis.call('HGET', index.seats, 't:' .. giver) or 0) <= reserve[2] then
        return false
      end
    end
    return has_kept(v, tenant) or math.max(v.free + 1 - v.unmet_sum, 0) > v.called - v.covered
  end

  -- The one that asked first for a seat and could have that of somebody of `giver`, of the first that asked; nil if none of them could.
  function self.find_asker(giver, answer_ms)
    local open = redis.call('ZRANGEBYLEX', line, '(' .. request_of(waits_from(answer_ms), '\255'), '(s', 'LIMIT', 0, CHECKED)
    for i = 1, #open do
      local id = string.sub(open[i], -22)
      local arrival = tonumber(redis.call('ZSCORE', queue, id) or nil)
      local tenant = arrival and string.match(redis.call('HGET', tickets, id) or '', '^[^\1]*')
      if arrival and kept_until(id) > now and not redis.call('ZSCORE', called, called_entry_of(tenant, arrival, id))
        and could_pass(giver, tenant) then
        return id, tenant, arrival
      end
    end
    return nil
  end

  -- Calls somebody for a seat that was given up for it, whoever came before.
  function self.call(id, tenant, arrival)
    take_out_of_line('w' .. entry_of(tenant, arrival))
    keep_seat(tenant, arrival, id, kept_until(id))
    find_head(tenant)
    vacancies = nil
    notify(queue, id)
  end

  -- The kind of seat for somebody who asks, after those who are next were called: with a ticket (`id` and its arrival) only
  -- if it is among them, without one only what nobody who waits could have. Or nil and why; `yield` where it may have a seat that
  -- somebody gives way from.
  function self.take(tenant, id, arrival)
    local is_called = id and uncall(tenant, arrival, id)
    local v = look()
    local may = is_called or (not id and not self.more and not is_full(tenant))
    if may and (has_kept(v, tenant) or has_any(v)) then
      return v.free - v.unmet_sum + unmet_of(v, tenant) > 0 and 'c' or 'o'
    end
    local may_take = may and has_any_by_yield(v)
    if is_called then
      self.file(tenant, arrival, id)
    end
    if may_take then
      return nil, 'yield'
    end
    return nil, v.free > v.called and rules.reserves and 'reserved' or 'full'
  end

  -- The seat that gives way to somebody of a tenant. `which`: any; own, one of the tenant, because it has all that it may; or kept, one of
  -- those that are kept for the tenant. The last two only if nobody of it waits for that who came before `arrival`.
  function self.find_yielding(tenant, which, arrival)
    if not takes_seats(index) or not look().fits or (which == 'kept' and not rules.reserves) then
      return nil
    end
    if which ~= 'any' then
      local first = first_of(tenant)
      if called_of(tenant) > 0 or (first and first ~= (arrival and entry_of(tenant, arrival))) then
        return nil
      end
    end
    local may_go, may_go_to_others = rule_of_yielding(index, rules, tenant), which == 'kept' and rule_of_yielding(index, rules)
    return seats_that_yield(index, 1, function(seat)
      return (which == 'any' or seat.tenant == tenant) and may_go(seat) and (which ~= 'kept' or not may_go_to_others(seat))
    end)[1]
  end

  -- Gives somebody a place, or its old one back: `arrival` is its order, `asked` what it asked for, `kept_ms` how long it keeps the place
  -- without a question. A node of the version before reads `asked` to its end, so what is newer has fields of its own.
  function self.take_place(id, arrival, since, asked, kept_ms)
    redis.call('ZADD', queue, int(arrival), id)
    undo_by('ZREM', queue, id)
    redis.call('ZADD', waiting, int(now + kept_ms), id)
    undo_by('ZREM', waiting, id)
    redis.call('HSET', tickets, id, asked, 'since:' .. id, int(since))
    undo_by('HDEL', tickets, id, 'since:' .. id)
    self.file_new()
  end

  -- It is there again: its connection is not broken any more, and whoever was passed over is in line again.
  function self.is_back(id, arrival)
    undo_fields(tickets, 'broken:' .. id)
    redis.call('HDEL', tickets, 'broken:' .. id)
    if not arrival then
      return
    end
    local tenant = string.match(redis.call('HGET', tickets, id) or '', '^[^\1]*')
    local entry = called_entry_of(tenant, arrival, id)
    local kept = redis.call('ZSCORE', called, entry)
    if kept then
      -- Late, and nobody has passed it over yet.
      redis.call('ZADD', called, 'GT', int(now + ASK_MS + LATE_MS), entry)
      undo_by('ZADD', called, kept, entry)
    elseif put_into_line('w' .. entry_of(tenant, arrival)) then
      find_head(tenant)
    end
  end

  -- Nobody is there to hear of its turn. It keeps its place until it is silent for too long.
  function self.is_broken(id)
    undo_fields(tickets, 'broken:' .. id)
    redis.call('HSET', tickets, 'broken:' .. id, int(now + RELOAD_MS))
    local arrival = tonumber(redis.call('ZSCORE', queue, id))
    local entry = called_entry_of(string.match(redis.call('HGET', tickets, id) or '', '^[^\1]*'), arrival, id)
    local kept = tonumber(redis.call('ZSCORE', called, entry) or nil)
    if kept and kept > now + RELOAD_MS then
      redis.call('ZADD', called, int(now + RELOAD_MS), entry)
      undo_by('ZADD', called, int(kept), entry)
    end
  end

  -- Counts how long somebody had waited who was served.
  function self.count_wait(waited)
    local bucket = math.max(math.min(math.ceil(math.log(math.max(waited, 1) / 100) / math.log(1.5)), WAITS - 1), 0)
    add(index.seats, 'wait:' .. bucket, 1)
    if add(index.seats, 'waits', 1) >= WAITS_COUNTED then
      local fields, sum = {}, 0
      for i = 0, WAITS - 1 do
        fields[i + 1] = 'wait:' .. i
      end
      local counts, halves = redis.call('HMGET', index.seats, unpack(fields)), {}
      for i = 1, WAITS do
        local half = math.floor(tonumber(counts[i] or 0) / 2)
        if half > 0 then
          halves[#halves + 1], halves[#halves + 2], sum = fields[i], int(half), sum + half
        end
      end
      undo_fields(index.seats, 'waits', unpack(fields))
      redis.call('HDEL', index.seats, unpack(fields))
      redis.call('HSET', index.seats, 'waits', int(sum), unpack(halves))
    end
  end

  -- Takes a place away. Returns tenant and holder, and whether a seat was kept for it.
  function self.give_up(id)
    local known, arrival = redis.call('HMGET', tickets, id, 'requested:' .. id), tonumber(redis.call('ZSCORE', queue, id) or nil)
    local tenant, holder = string.match(known[1] or '\1\1', '^([^\1]*)\1([^\1]*)')
    local was_called
    if known[2] then
      take_out_of_line(request_of(known[2], id))
    end
    if arrival then
      was_called = uncall(tenant, arrival, id)
      if take_out_of_line('w' .. entry_of(tenant, arrival)) or was_called then
        find_head(tenant)
      end
    end
    undo_member(queue, id)
    redis.call('ZREM', queue, id)
    undo_member(waiting, id)
    redis.call('ZREM', waiting, id)
    undo_fields(tickets, id, 'since:' .. id, 'broken:' .. id, 'requested:' .. id)
    redis.call('HDEL', tickets, id, 'since:' .. id, 'broken:' .. id, 'requested:' .. id)
    if redis.call('ZCARD', queue) == 0 then
      -- What nodes of the version before left behind.
      redis.call('UNLINK', tickets, line, heads, called)
      vacancies = nil
    end
    return tenant, holder, was_called
  end

  -- Drops those who did not ask again in time. Returns whether all of them are gone.
  function self.drop_silent(events)
    local silent = redis.call('ZRANGE', waiting, '-inf', int(waits_from(SILENT_MS)), 'BYSCORE', 'LIMIT', 0, 4 * CALLS)
    for i = 1, #silent do
      local tenant, holder = self.give_up(silent[i])
      record_event(events, 'gave_up', silent[i], now, holder, tenant, 'silent')
    end
    return #silent < 4 * CALLS
  end

  -- How many seats could come free until somebody who is `ahead` others behind the front has its turn, and so when to ask again.
  -- Never later than when its seat could be there by time alone: at the end of a lease, with a change of capacity, or when
  -- those who are called have not asked. All of it is bounded by FAR_MS, and grows with the distance.
  function self.ask_after(leases, period, ahead, in_use)
    local rest = math.min(ASK_MS + 10 * math.max(ahead - 9, 0), FAR_MS)
    local lease = redis.call('ZRANGE', leases, ahead, ahead, 'WITHSCORES')
    if lease[2] then
      rest = math.min(rest, ends_at(tonumber(lease[2]), period) - now)
    end
    local change, seats = next_change(index.schedule, now)
    if change and ahead < seats - in_use then
      rest = math.min(rest, change - now)
    end
    local kept = redis.call('ZRANGE', called, 0, 0, 'WITHSCORES')
    if kept[2] and ahead <= 2 * redis.call('ZCARD', called) then
      rest = math.min(rest, waits_until(tonumber(kept[2]), ASK_MS + LATE_MS) - now)
    end
    return math.max(rest, 1)
  end

  return self
end

-- Calls those who are next for the seats that a script freed. Comes at its end.
local function hand_on(keys, index, config)
  if index and index.freed and not index.incomplete then
    open_queue(keys, index, config).call_next()
  end
end

-- The mean time in which a seat comes free, ms, by how they did lately: `ends` of them in `held_ms` seat-milliseconds (seats.lua); and the
-- seats that are free. Until four have come free, part of it is a guess: one in each TTL. It changes slowly while nothing
-- happens, so what people read does not jump.
local function pace_for(index, ttl, capacity)
  local all, ends, held_ms = pace_of(index, now)
  local guess = math.max(10000, math.min(ttl, 600000) * (1 - math.min(ends / 4, 1)))
  return (held_ms / math.max(all, 1) + guess) / (ends + 1), capacity - all
end

-- The same for a place, of what pace_for returned.
local function wait_of(each, free, position)
  -- A seat that is free falls to somebody before the places of the silent have lapsed.
  local to_end = position - free
  return math.max(to_end > 0 and to_end * each or math.min(each, SILENT_MS), 1)
end

-- About how long somebody waits who is `position` in the queue.
local function waits_for(index, ttl, capacity, position)
  local each, free = pace_for(index, ttl, capacity)
  return wait_of(each, free, position)
end
