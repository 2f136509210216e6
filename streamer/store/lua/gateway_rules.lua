-- Who may call when: what the scripts of the gateway share. It goes before their own text.
-- `streamer/gateway/limits.py`, `breaker.py` and `decision.py` say the same and why; a property test compares them.
-- KEYS  state (hash: breaker, penalties), log (zset: token to time), line (hash: process to its place in the queue),
--       and, where they are needed, spent (hash), spent before (hash), processes (zset)
-- ARGV  one MessagePack list: redis-py takes 0.8 µs for each argument, which is more than a command takes in here
-- Whatever of it is foreign or of another type is replaced: it may cost a window, never wedge.

local RETURN_MS = 3500
local LEASE_MS, STRAY_MS, GRACE_MS, LONGEST_SLEEP_MS, PROCESS_MS = 12000, 4000, 1000, 30000, 60000
local LEAST_FACTOR, REGAIN_MS, REGAIN_STEP = 125, 30000, 100
local FIRST_BLOCK_MS, LONGEST_OWN_BLOCK_MS, LONGEST_BLOCK_MS = 1000, 60000, 900000
local FAILURES_IN_A_ROW, LEAST_CALLS, BUCKET_MS, BUCKETS = 5, 10, 5000, 6
local FIRST_OPEN_MS, LONGEST_OPEN_MS, FORGIVEN_MS = 5000, 120000, 60000
local SPENT_MS, LOG_LIFE_MS = 300000, 86400000

local STATE, LOG, LINE, SPENT, SPENT_BEFORE, PROCESSES = unpack(KEYS)
local floor, max, min = math.floor, math.max, math.min
local call, pcall_ = redis.call, redis.pcall

local words = cmsgpack.unpack(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000)

local function text(number) return string.format('%.0f', number) end

-- Doubles are exact up to 15 digits; what is no such number was not written here.
local function number(value, otherwise)
  if value and #value <= 15 and string.match(value, '^%d+$') then return tonumber(value) end
  return otherwise
end

-- Do a command on a key; where the key is of another type, replace it.
local function on(command, key, ...)
  local reply = pcall_(command, key, ...)
  if type(reply) == 'table' and reply.err then
    call('DEL', key)
    reply = call(command, key, ...)
  end
  return reply
end

-- -- windows -------------------------------------------------------------------------------------------------------

local function born_at()
  local score = pcall_('ZSCORE', LOG, 'born')
  if type(score) == 'table' and score.err then
    call('DEL', LOG)
    score = false
  end
  local born = score and number(string.match(score, '^%-(%d+)$'))
  if not born or born > now then
    -- Its score is negative, so it stands before every call and is in nobody's way.
    call('ZADD', LOG, text(-now), 'born')
    call('PEXPIRE', LOG, LOG_LIFE_MS)
    return now
  end
  return born
end

-- After the clock of Redis has been set back, entries would be in the future for as long.
local function believe_log()
  local latest = text(now + LEASE_MS)
  local strange = call('ZRANGEBYSCORE', LOG, '(' .. latest, '+inf')
  for _, token in ipairs(strange) do call('ZADD', LOG, latest, token) end
end

-- Windows often have the same limit, and ask the same.
local nth = {}
local function nth_latest(index)
  if not nth[index] then nth[index] = tonumber(call('ZREVRANGE', LOG, index, index, 'WITHSCORES')[2]) or -1 end
  return nth[index]
end

local function scaled(limit, length, factor)
  local part = limit * factor
  if part >= 1000 then return floor(part / 1000), length end
  return 1, math.ceil(length * 1000 / part)
end

local function window_free_at(limit, length, ahead)
  local rounds = floor(ahead / limit)
  local index = limit - 1 - (ahead - rounds * limit)
  local at = nth_latest(index)
  if at > now + LEASE_MS then
    believe_log()
    nth = {}
    at = nth_latest(index)
  end
  local least, later = 0, 0
  if rounds > 0 then least, later = now, rounds * (length + 1) end
  if at < 0 then return least + later, least + later end
  return max(least, at + length + 1) + later, max(least, min(at, now) + length + 1) + later
end

local function factor_of(penalty)
  return min(1000, penalty.factor + REGAIN_STEP * floor(max(0, now - penalty.since) / REGAIN_MS))
end

local function blocked_until(penalty)
  return penalty.blocked <= now + LONGEST_BLOCK_MS and penalty.blocked or 0
end

-- windows: limit, length, limit, length, ...
local function free_at(windows, penalty, born, ahead)
  local latest = blocked_until(penalty)
  local soonest, factor = latest, factor_of(penalty)
  for i = 1, #windows, 2 do
    local limit, length = scaled(windows[i], windows[i + 1], factor)
    local grown = born + length + RETURN_MS
    local late, soon = window_free_at(limit, length, ahead)
    if now < grown then
      local half_late, half_soon = window_free_at(max(1, floor(limit / 2)), length, ahead)
      late, soon = min(half_late, max(late, grown)), min(half_soon, max(soon, grown))
    end
    latest, soonest = max(latest, late), max(soonest, soon)
  end
  return latest, soonest
end

-- -- state ---------------------------------------------------------------------------------------------------------

-- Factors and counts that cannot be are as good as none: a limit of 0 would divide by zero.
local function read_state(budget)
  local f = on('HMGET', STATE, 'breaker', 'generation', 'until', 'probe', budget .. ':blocked', budget .. ':factor',
    budget .. ':since')
  local factor = number(f[6], 1000)
  if factor < LEAST_FACTOR or factor > 1000 then factor = 1000 end
  local breaker = {open = f[1] == 'open', generation = number(f[2], 0), untill = number(f[3], 0), probe = number(f[4], 0)}
  return breaker, {blocked = number(f[5], 0), factor = factor, since = number(f[7], 0)}
end

local function refused_until(breaker)
  if not breaker.open then return 0 end
  if now < breaker.untill and breaker.untill <= now + LONGEST_OPEN_MS then return breaker.untill end
  return now < breaker.probe and breaker.probe <= now + LEASE_MS and breaker.probe or 0
end

-- A process says that it is there; return how many are.
local function announce(name)
  on('ZADD', PROCESSES, text(now), name)
  call('ZREMRANGEBYSCORE', PROCESSES, '-inf', text(now - PROCESS_MS))
  return call('ZCOUNT', PROCESSES, '-inf', text(now))
end

-- -- the line ------------------------------------------------------------------------------------------------------

-- Return the places of those that count: name, rank, until, queued, name, ...; the others are struck off.
local function standing()
  local held = on('HGETALL', LINE)
  local found, n = {}, 0
  for i = 1, #held, 2 do
    local rank, till, queued = string.match(held[i + 1], '^(%d+):(%d+):(%d+)$')
    rank, till, queued = number(rank), number(till), number(queued)
    if rank and till and queued and now <= till and till <= now + LONGEST_SLEEP_MS + GRACE_MS then
      found[n + 1], found[n + 2], found[n + 3], found[n + 4] = held[i], rank, till, queued
      n = n + 4
    else
      call('HDEL', LINE, held[i])
    end
  end
  return found
end

local function stand(name, rank, till, queued)
  call('HSET', LINE, name, text(rank) .. ':' .. text(till) .. ':' .. text(queued))
  call('PEXPIRE', LINE, LONGEST_SLEEP_MS + 2 * GRACE_MS)
end
