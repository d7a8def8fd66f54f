-- Joined behind record.lua and blocks.lua in scripts that grant seats of a pool without rules: how such a pool decides about one
-- who asks. acquire.lua asks for one, acquire_many.lua for many, each decided alone.

-- `pool` has the keys and the numbers of the pool, `asked` what one asks for: id, holder, tenant, label, activities, platform,
-- tombstone and, with an idempotency key, `repeated`. Returns a word and what goes with it:
--   granted         id, expires_at, fence
--   existing        id, expires_at: the lease that the idempotency key already has
--   pool_full       retry_after: when the first seat can come free
--   holder_blocked  retry_after: the rest of the block; detail: the reason
--   recovering      retry_after: until newcomers are served
-- pool.in_use is the number of seats in use behind it.
local function decide(pool, asked)
  local leases, id, holder, period = pool.leases, asked.id, asked.holder, pool.period

  -- The same request again, because the reply was lost on the way to the node.
  local own = tonumber(redis.call('ZSCORE', leases, id) or 0)
  if own > live_from(period) then
    pool.in_use = count_live(leases, period)
    local record = read_record(pool.records, id)
    return 'granted', { id = id, expires_at = ends_at(own, period), fence = record and record[FENCE] }
  end

  -- A copy of a request that comes late, after its lease was given back: it must not take the seat once more.
  if redis.call('EXISTS', asked.tombstone) == 1 then
    pool.in_use = count_live(leases, period)
    return 'pool_full', { retry_after = 1000 }
  end

  local earlier
  if asked.repeated then
    earlier = redis.call('GET', asked.repeated)
    local score = earlier and tonumber(redis.call('ZSCORE', leases, earlier) or 0)
    if score and score > live_from(period) then
      pool.in_use = count_live(leases, period)
      return 'existing', { id = earlier, expires_at = ends_at(score, period), score = score }
    end
  end

  if lost and now < generation + pool.ttl then
    pool.in_use = count_live(leases, period)
    return 'recovering', { retry_after = generation + pool.ttl - now }
  end

  if not pool.writes then
    pool.writes = true
    -- The first write. It is one that Redis refuses when memory is full, so nothing is half done.
    mark()
    if end_due(leases, pool.expired, pool.events, period, 64) < 64 then
      pool.in_use = redis.call('ZCARD', leases)
    else
      pool.in_use = count_live(leases, period)
    end
  end

  local blocked_until = holder ~= '' and tonumber(redis.call('ZSCORE', pool.blocks, holder) or 0) or 0
  local code = blocked_until > now and 'holder_blocked' or pool.in_use >= pool.capacity and 'pool_full'
  if code then
    -- Each denial is counted, but only the first of a run is an event, and there is a bound on runs: a crowd cannot
    -- fill the memory.
    if redis.call('ZADD', pool.denied, 'NX', int(now), holder) == 1 then
      undo_by('ZREM', pool.denied, holder)
      if redis.call('ZCARD', pool.denied) > 10000 then
        redis.call('ZREM', pool.denied, holder)
      else
        record_event(pool.events, 'denied', '', now, holder, asked.tenant, code)
        redis.call('ZADD', pool.due, 'LT', int(now + 120000), pool.name)
      end
    end
    add(pool.denials, int((now - now % 60000) / 60000) .. ':' .. code, 1)
    if code == 'holder_blocked' then
      return code, { retry_after = blocked_until - now, detail = reason_of_block(pool.notes, holder, blocked_until) }
    end
    return code, { retry_after = first_free_in(leases, pool.ttl, period, pool.in_use, pool.capacity) }
  end

  local expires_at = now + pool.ttl
  local fence = math.max(newest_fence + 1, now * 1000 + time[2] % 1000)
  newest_fence = fence
  -- This undoes what follows. Whoever may not run it finds out while there is nothing to undo.
  redis.call('ZREM', leases, id)
  redis.call('ZADD', leases, int(expires_at), id)
  undo_by('ZREM', leases, id)
  redis.call('HSET', clock, 'fence', int(fence))

  write_record(pool.records, id, { int(fence), holder, asked.tenant, int(now), '', asked.platform, asked.label, asked.activities })
  keep_records(pool.records, pool.ttl, pool.margin_ms)
  redis.call('ZADD', pool.due, 'LT', int(expires_at), pool.name)
  if asked.repeated then
    redis.call('SET', asked.repeated, id, 'PX', int(pool.ttl + REPEATED_MS))
    if earlier then
      undo_by('SET', asked.repeated, earlier, 'KEEPTTL')
    else
      undo_by('DEL', asked.repeated)
    end
  end
  record_event(pool.events, 'started', id, now, holder, asked.tenant, '')
  pool.in_use = pool.in_use + 1
  return 'granted', { id = id, expires_at = expires_at, fence = int(fence) }
end
