-- Ask for one call, on behalf of the most urgent waiter of a process. `gateway_rules.lua` goes before this.
-- words budget, process, token, waited_ms, handicap_ms, queued (0 = alone, not in line),
--       waited_ms and handicap_ms of the process's next waiter (false = none), reborn, announce, channel,
--       then limit and length_ms of each window
--       announce: count us and all others, which need not be done for each call and needs KEYS up to processes
-- Reply 1, now_ms, generation, processes, wakes          granted
--       2, sleep_ms, soonest_ms, processes               wait
--       3, retry_ms, 0, processes                        the breaker is open
--       where processes is 0 if they have not been counted
-- The fast path does eight commands; what can be done later is done by `gateway_settle.lua`.

local budget, name, token, waited, handicap, queued, next_waited, next_handicap, reborn, announces, channel =
  unpack(words, 1, 11)
local rank = now - waited + handicap
local windows = {unpack(words, 12)}

local processes = announces and announce(name) or 0
local born = born_at()
if reborn then
  call('ZADD', LOG, text(-now), 'born')
  born = now
end

local breaker, penalty = read_state(budget)
local refused = refused_until(breaker)
if refused > 0 then
  on('HDEL', LINE, name)
  return {3, refused - now, 0, processes}
end

local others, ahead, next_change = standing(), 0, now + LONGEST_SLEEP_MS
local company = false
for i = 1, #others, 4 do
  if others[i] ~= name then
    company = true
    if others[i + 1] < rank then
      ahead = ahead + 1
      next_change = min(next_change, others[i + 2] + 1)
    end
  end
end

local at, soonest = free_at(windows, penalty, born, ahead)
if ahead > 0 or at > now then
  local till = min(at > now and at or next_change, next_change)
  stand(name, rank, till + GRACE_MS, max(1, queued))
  return {2, till - now, max(0, soonest - now), processes}
end

call('ZADD', LOG, text(now + LEASE_MS), token)
if breaker.open then
  breaker.generation = breaker.generation + 1
  call('HSET', STATE, 'generation', text(breaker.generation), 'probe', text(now + LEASE_MS), 'prober', token)
end

-- The process's next waiter takes its place: a less urgent one elsewhere must not slip in.
if next_waited then
  stand(name, now - next_waited + next_handicap, now + GRACE_MS, max(0, queued - 1))
elseif queued > 0 then
  call('HDEL', LINE, name)
end
local wakes = 0
nth = {}
if company and free_at(windows, penalty, born, 0) <= now then
  call('PUBLISH', channel, budget)
  wakes = 1
end

return {1, now, breaker.generation, processes, wakes}
