-- Drop from the wanted set what is not pinned and has not been read for a while.
-- KEYS  wanted
-- ARGV  idle_ms
-- Reply the names that were dropped

local key = KEYS[1]
if redis.call('TYPE', key).ok ~= 'hash' then return {} end
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local gone, all = {}, redis.call('HGETALL', key)
for i = 1, #all, 2 do
  local sound, want = pcall(cjson.decode, all[i + 1])
  if sound and type(want) == 'table' and want.pinned == false then
    local used_ms = math.max(tonumber(want.asked_ms) or 0, tonumber(want.read_ms) or 0)
    if now_ms - used_ms > tonumber(ARGV[1]) then
      redis.call('HDEL', key, all[i])
      gone[#gone + 1] = all[i]
    end
  end
end
return gone
