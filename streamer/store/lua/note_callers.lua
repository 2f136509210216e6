-- Note who has asked, which way and how often; those not seen for the longest are dropped.
-- KEYS  callers
-- ARGV  caller, way, calls ... of each

local MOST = 1000
local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'none' and kind ~= 'hash' then return 0 end
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function entry_of(raw)
  local sound, entry = pcall(cjson.decode, raw)
  if sound and type(entry) == 'table' then return entry end
  return {}
end

for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', key, ARGV[i])
  local calls = held and tonumber(entry_of(held).calls) or 0
  local entry = {way = ARGV[i + 1], last_ms = now_ms, calls = calls + ARGV[i + 2]}
  redis.call('HSET', key, ARGV[i], cjson.encode(entry))
end

local surplus = redis.call('HLEN', key) - MOST
if surplus <= 0 then return 0 end
local seen, all = {}, redis.call('HGETALL', key)
for i = 1, #all, 2 do
  seen[#seen + 1] = {name = all[i], at = tonumber(entry_of(all[i + 1]).last_ms) or 0}
end
table.sort(seen, function(a, b) return a.at < b.at end)
for i = 1, surplus do redis.call('HDEL', key, seen[i].name) end
return surplus
