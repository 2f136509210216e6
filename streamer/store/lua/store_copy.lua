-- Keep an answer of REST, fresh and stale copy alike; a newer one that is there stays.
-- KEYS  fresh, stale
-- ARGV  copy (JSON with fetched_ms), fetched_ms, ttl_ms, stale_ttl_ms
-- Reply 1 kept, 0 refused: a newer one is there
-- What is ahead of the clock is no newer one: the clock went back, or it is foreign, and would stand for ever.

local clock = redis.call('TIME')
local latest_ms = clock[1] * 1000 + math.floor(clock[2] / 1000) + 5000
local held = redis.pcall('GET', KEYS[2])
if type(held) == 'string' then
  local fetched_ms = tonumber(string.match(held, '"fetched_ms":(%d+)'))
  if fetched_ms and fetched_ms > tonumber(ARGV[2]) and fetched_ms <= latest_ms then return 0 end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[4])
return 1
