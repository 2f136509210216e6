-- Take or renew the lease of a shard.
-- KEYS  stream:lease:<shard>, stream:epoch:<shard>
-- ARGV  owner, ttl_ms, epoch held so far (0 = none)
-- Reply the epoch if the lease is ours, else 0; then the owner's name and the lease's remaining ms
-- A new owner's epoch is above every earlier one, also where Redis has lost the counter: never below its clock.

local owner, ttl_ms, held = ARGV[1], ARGV[2], tonumber(ARGV[3])
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= 'string' then redis.call('DEL', key) end
end
local current = redis.call('GET', KEYS[1])
if current and current ~= owner then
  return {'0', current, redis.call('PTTL', KEYS[1])}
end
local epoch = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
if not (current and held > 0 and epoch == held) then
  local clock = redis.call('TIME')
  epoch = math.max(epoch + 1, held + 1, clock[1] * 1000 + math.floor(clock[2] / 1000))
  redis.call('SET', KEYS[2], string.format('%.0f', epoch))
end
redis.call('SET', KEYS[1], owner, 'PX', ttl_ms)
return {string.format('%.0f', epoch), owner, tonumber(ttl_ms)}
