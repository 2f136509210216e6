-- Note reads in the wanted set, and ask for what is read but not streamed.
-- KEYS  wanted
-- ARGV  cap, how many were read, those read ..., those to ask for ...
-- Reply how many were not asked for because reads have asked for `cap` products already

local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'none' and kind ~= 'hash' then return 0 end
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local cap, read = tonumber(ARGV[1]), tonumber(ARGV[2])

local function want_of(name)
  local raw = redis.call('HGET', key, name)
  if not raw then return nil, false end
  local sound, want = pcall(cjson.decode, raw)
  if not sound or type(want) ~= 'table' then return nil, true end
  return want, true
end

local function touch(name)
  local want, is_there = want_of(name)
  if want then
    want.read_ms = now_ms
    redis.call('HSET', key, name, cjson.encode(want))
  end
  return is_there
end

for i = 3, read + 2 do touch(ARGV[i]) end

local asked, refused = nil, 0
for i = read + 3, #ARGV do
  if not touch(ARGV[i]) then
    if not asked then
      asked = 0
      for _, raw in ipairs(redis.call('HVALS', key)) do
        local sound, want = pcall(cjson.decode, raw)
        if sound and type(want) == 'table' and want.by == 'reader' then asked = asked + 1 end
      end
    end
    if asked < cap then
      local want = {by = 'reader', pinned = false, asked_ms = now_ms, read_ms = now_ms}
      redis.call('HSET', key, ARGV[i], cjson.encode(want))
      asked = asked + 1
    else
      refused = refused + 1
    end
  end
end
return refused
