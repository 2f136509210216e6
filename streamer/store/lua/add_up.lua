-- Add to sums and raise maxima, all at once.
-- KEYS  hash
-- ARGV  "sum" or "max", field, number ... of each

local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'none' and kind ~= 'hash' then return 0 end

for i = 1, #ARGV, 3 do
  local field, number = ARGV[i + 1], ARGV[i + 2]
  local held = tonumber(redis.call('HGET', key, field))
  if ARGV[i] == 'max' then
    if not held or held < tonumber(number) then redis.call('HSET', key, field, number) end
  else
    if not held then redis.call('HSET', key, field, '0') end
    redis.call('HINCRBYFLOAT', key, field, number)
  end
end
return 1
