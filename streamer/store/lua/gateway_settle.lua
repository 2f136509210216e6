-- Say how a granted call has ended. `gateway_rules.lua` goes before this.
-- words budget, token, outcome, generation, granted_ms, retry_after_ms (false = none named), label, channel,
--       then limit and length_ms of each window
-- Reply wakes: 1 if those who wait were woken

local budget, token, outcome, generation, granted, retry_after, label, channel = unpack(words, 1, 8)
local windows, longest = {unpack(words, 9)}, 0
for i = 1, #windows, 2 do
  local _, length = scaled(windows[i], windows[i + 1], LEAST_FACTOR)
  longest = max(longest, length)
end

local born = born_at()
if outcome == 'unused' then
  call('ZREM', LOG, token)
else
  -- What is not known any more was sent all the same.
  call('ZADD', LOG, text(outcome == 'abandoned' and now + STRAY_MS or now), token)
  local bucket = text(floor(now / SPENT_MS))
  if on('HGET', SPENT, 'bucket') ~= bucket then
    if call('EXISTS', SPENT) == 1 then call('RENAME', SPENT, SPENT_BEFORE) end
    call('HSET', SPENT, 'bucket', bucket)
    call('PEXPIRE', SPENT, 2 * SPENT_MS)
  end
  local counted = pcall_('HINCRBY', SPENT, label, 1)
  if type(counted) == 'table' and counted.err then call('HSET', SPENT, label, 1) end
end
call('ZREMRANGEBYSCORE', LOG, 0, '(' .. text(now - longest))
call('PEXPIRE', LOG, LOG_LIFE_MS)

local breaker, penalty = read_state(budget)

if outcome == 'limited' then
  local held = call('HMGET', STATE, budget .. ':halved', budget .. ':strikes')
  local halved, strikes = number(held[1], 0), number(held[2], 0)
  if granted > halved or halved > now then
    local factor = factor_of(penalty)
    strikes = factor < 1000 and strikes + 1 or 1
    penalty.factor, halved = max(LEAST_FACTOR, floor(factor / 2)), now
  end
  local wait = min(LONGEST_OWN_BLOCK_MS, FIRST_BLOCK_MS * 2 ^ min(max(0, strikes - 1), 10))
  if retry_after then wait = min(LONGEST_BLOCK_MS, max(FIRST_BLOCK_MS, retry_after)) end
  penalty.blocked = max(blocked_until(penalty), now + wait)
  penalty.since = penalty.blocked
  call('HSET', STATE, budget .. ':blocked', text(penalty.blocked), budget .. ':factor', text(penalty.factor),
    budget .. ':since', text(penalty.since), budget .. ':halved', text(halved), budget .. ':strikes', text(strikes))
end

local function open_breaker(closed, streak)
  if not breaker.open and now - closed >= FORGIVEN_MS then streak = 0 end
  streak = streak + 1
  local open_ms = min(LONGEST_OPEN_MS, FIRST_OPEN_MS * 2 ^ min(streak - 1, 10))
  call('HSET', STATE, 'breaker', 'open', 'generation', text(breaker.generation + 1), 'until', text(now + open_ms),
    'probe', 0, 'streak', text(streak))
  return true
end

-- Enter a result into its bucket; return all buckets as text, and the calls and failures of the last 30 s.
local function counted(buckets, failed)
  local newest, calls, failures, kept, found = floor(now / BUCKET_MS), 0, 0, {}, false
  for at, c, f in string.gmatch(buckets or '', '(%d+):(%d+):(%d+)') do
    at, c, f = number(at, 0), number(c, 0), number(f, 0)
    if newest - BUCKETS < at and at <= newest then
      if at == newest then c, f, found = c + 1, f + failed, true end
      calls, failures = calls + c, failures + f
      kept[#kept + 1] = text(at) .. ':' .. text(c) .. ':' .. text(f)
    end
  end
  if not found then
    calls, failures = calls + 1, failures + failed
    kept[#kept + 1] = text(newest) .. ':1:' .. failed
  end
  return table.concat(kept, ','), calls, failures
end

-- Return whether this result has opened the breaker.
local function record()
  -- Who was cancelled while it asked does not know what it was granted.
  local is_ours = generation == breaker.generation
  if outcome == 'abandoned' or outcome == 'unused' then
    if breaker.open and (is_ours or call('HGET', STATE, 'prober') == token) then call('HSET', STATE, 'probe', 0) end
    return false
  end
  if not is_ours then return false end
  local held = call('HMGET', STATE, 'failures', 'buckets', 'closed', 'streak')
  local failed, failures = outcome == 'failed' and 1 or 0, number(held[1], 0)
  local closed, streak = number(held[3], 0), number(held[4], 0)
  if breaker.open and failed == 1 then return open_breaker(closed, streak) end
  if breaker.open then
    call('HSET', STATE, 'breaker', 'closed', 'generation', text(breaker.generation + 1), 'probe', 0,
      'closed', text(now), 'failures', 0, 'buckets', '')
    return false
  end
  failures = failed == 1 and failures + 1 or 0
  local buckets, calls, failed_calls = counted(held[2], failed)
  call('HSET', STATE, 'failures', text(failures), 'buckets', buckets)
  if failures >= FAILURES_IN_A_ROW or (failed == 1 and calls >= LEAST_CALLS and 2 * failed_calls >= calls) then
    return open_breaker(closed, streak)
  end
  return false
end

if record() then
  call('PUBLISH', channel, '*')
  return 1
end
local waiting = on('HLEN', LINE) > 0 and standing() or {}
if #waiting == 0 then return 0 end

-- The head is expected as soon as it can go: it was told a later time, and if it is dead others would wait for that.
local first = math.huge
for i = 2, #waiting, 4 do first = min(first, waiting[i]) end
local till = max(now, (free_at(windows, penalty, born, 0))) + GRACE_MS
for i = 1, #waiting, 4 do
  if waiting[i + 1] == first then
    stand(waiting[i], first, min(waiting[i + 2], till), waiting[i + 3])
  end
end
call('PUBLISH', channel, budget)
return 1
