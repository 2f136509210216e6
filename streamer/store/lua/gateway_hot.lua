-- Note which copies of REST's answers are read.
-- KEYS  hot (sorted set: key of a copy, scored by when it was last read)
-- ARGV  most, kept_ms, then for each copy: ms since it was read, its key
-- Reply how many are known now
-- What is ahead of the clock was read by nobody: the clock went back, or it is foreign, and would stay for ever.

local hot = KEYS[1]
local kind = redis.call('TYPE', hot).ok
if kind ~= 'none' and kind ~= 'zset' then redis.call('DEL', hot) end
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, kept_ms = tonumber(ARGV[1]), tonumber(ARGV[2])

redis.call('ZREMRANGEBYSCORE', hot, now_ms + 1, '+inf')
for i = 3, #ARGV, 2 do
  redis.call('ZADD', hot, 'GT', now_ms - tonumber(ARGV[i]), ARGV[i + 1])
end
redis.call('ZREMRANGEBYSCORE', hot, '-inf', now_ms - kept_ms)
local known = redis.call('ZREVRANGE', hot, 0, -1)
for i = most + 1, #known do redis.call('ZREM', hot, known[i]) end
redis.call('PEXPIRE', hot, kept_ms)
return math.min(most, #known)
