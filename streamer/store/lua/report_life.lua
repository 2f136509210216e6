-- The ingester's once-a-second report: proof of life of each feed, and the status.
-- KEYS  stream:feeds, stream:status
-- ARGV  epoch, shard, status_ttl_ms, status JSON without its closing brace,
--       then three a feed: id, JSON without its closing brace, age of its last proof of life in ms ('' = none yet)
-- Reply now_ms, the epoch of a newer owner that has reported (then nothing was written), else 0
-- Ages become times on the clock of Redis here, so that every host judges by one clock.

local epoch, shard = tonumber(ARGV[1]), ARGV[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local now_ms = string.format('%.0f', now)

local function epoch_of(json)
  local ok, entry = pcall(cjson.decode, json or '')
  local found = ok and type(entry) == 'table' and tonumber(entry.epoch) or 0
  return found < 1e15 and found or 0  -- as in write_hashes: no clock reading has more than 15 digits
end

for _, key in ipairs(KEYS) do
  local expected = key == KEYS[1] and 'hash' or 'string'
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= expected then redis.call('DEL', key) end
end

local ours = {}
for i = 5, #ARGV, 3 do
  local found = epoch_of(redis.call('HGET', KEYS[1], ARGV[i]))
  if found > epoch then return {now_ms, string.format('%.0f', found)} end
  ours[ARGV[i]] = true
end
local found = epoch_of(redis.call('GET', KEYS[2]))
if found > epoch then return {now_ms, string.format('%.0f', found)} end

for i = 5, #ARGV, 3 do
  local alive = 'null'
  if ARGV[i + 2] ~= '' then alive = string.format('%.0f', now - tonumber(ARGV[i + 2])) end
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ',"alive_ms":' .. alive .. '}')
end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  -- A feed of this shard that no longer exists: a reader must not wait for it.
  if not ours[field] and field:sub(1, #shard + 1) == shard .. '.' then redis.call('HDEL', KEYS[1], field) end
end
redis.call('SET', KEYS[2], ARGV[4] .. ',"written_ms":' .. now_ms .. '}', 'PX', ARGV[3])
return {now_ms, '0'}
