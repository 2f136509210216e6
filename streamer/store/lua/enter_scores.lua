-- Enter what was observed of providers into what is kept of them, unless others have since it was read.
-- KEYS  names by time, then one observed value each
-- ARGV  now_ms, life_s, most names, then of each value: as it was read ('' for none), as it is now, its name
-- Reply for each value: 1 entered, 0 overtaken

local now_ms, life_s, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local entered = {}
for at = 2, #KEYS do
  local first = 4 + (at - 2) * 3
  local held = redis.pcall('GET', KEYS[at])
  if type(held) ~= 'string' then held = '' end -- none, or something else that is in the way
  entered[at - 1] = held == ARGV[first] and 1 or 0
  if entered[at - 1] == 1 then
    redis.call('SET', KEYS[at], ARGV[first + 1], 'EX', life_s)
    redis.call('ZADD', KEYS[1], now_ms, ARGV[first + 2])
  end
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -most - 1)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms - life_s * 1000)
return entered
