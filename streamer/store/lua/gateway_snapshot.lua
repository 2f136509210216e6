-- How a budget stands, for people. `gateway_rules.lua` goes before this.
-- words budget, then limit and length_ms of each window
-- Reply factor, blocked_ms, queued, processes, breaker, retry_ms, failures, {used, limit, ...}, {label, calls, ...}

local budget, windows = words[1], {unpack(words, 2)}

local born = born_at()
local breaker, penalty = read_state(budget)
local used = {}
for i = 1, #windows, 2 do
  local limit, length = scaled(windows[i], windows[i + 1], factor_of(penalty))
  if now < born + length + RETURN_MS then limit = max(1, floor(limit / 2)) end
  used[i], used[i + 1] = call('ZCOUNT', LOG, text(now - length), '+inf'), limit
end
local queued, waiting = 0, standing()
for i = 4, #waiting, 4 do queued = queued + waiting[i] end

local state, retry = 'closed', refused_until(breaker)
if breaker.open then state = now < breaker.untill and retry > 0 and 'open' or 'half-open' end
local spent = {}
for _, key in ipairs({SPENT, SPENT_BEFORE}) do
  for _, word in ipairs(on('HGETALL', key)) do spent[#spent + 1] = word end
end
return {
  factor_of(penalty), max(0, blocked_until(penalty) - now), queued,
  on('ZCOUNT', PROCESSES, text(now - PROCESS_MS), text(now)),
  state, max(0, retry - now), number(on('HGET', STATE, 'failures'), 0), used, spent,
}
