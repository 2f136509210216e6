-- Take or renew the lease of a shard.
-- KEYS  stream:lease:<shard>, stream:epoch:<shard>
-- ARGV  owner, ttl_ms, epoch held so far (0 = none)
-- Reply the epoch if the lease is ours, else 0; the owner's name; 1 if Redis has lost what we had put there, else 0
-- A new owner's epoch is above every earlier one, also where Redis has lost the counter: never below its clock.

local owner, ttl_ms, held = ARGV[1], ARGV[2], tonumber(ARGV[3])
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= 'string' then redis.call('DEL', key) end
end
local current = redis.call('GET', KEYS[1])
if current and current ~= owner then
  return {'0', current, 0}
end
-- Only what can have been an epoch counts; a foreign "inf" would make every later one infinite.
local found = redis.call('GET', KEYS[2])
local counter = found or '0'
local epoch = string.match(counter, '^%d+$') and #counter <= 15 and tonumber(counter) or 0
if not (current and held > 0 and epoch == held) then
  local clock = redis.call('TIME')
  epoch = math.max(epoch + 1, held + 1, clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call('SET', KEYS[2], string.format('%.0f', epoch))
end
redis.call('SET', KEYS[1], owner, 'PX', ttl_ms)
return {string.format('%.0f', epoch), owner, held > 0 and not found and 1 or 0}
