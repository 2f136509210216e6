-- Take the flights that nobody leads, or learn who does; also renews those that are ours.
-- KEYS  lease, failure, urge, lease, failure, urge, ... three a flight
-- ARGV  token, lease_ms, then for each flight our priority (0 is the most urgent)
-- Reply now_ms, then one list a flight:
--       {'led', urge}     we lead it; the most urgent of those who joined, '' where nobody did
--       {'joined', ms}    another leads it and will have lost it in so many ms unless it renews
--       {'failed', record} it has just failed, and is not to be flown again yet

local LONGEST_FAILURE_MS = 3600000
local clock = redis.call('TIME')
local reply = {clock[1] * 1000 + math.floor(clock[2] / 1000)}

-- A value of another type is not ours.
local function text_of(key)
  local value = redis.pcall('GET', key)
  if type(value) ~= 'table' then return value end
  redis.call('DEL', key)
  return false
end

local function join(lease, urge, priority)
  local left_ms = redis.call('PTTL', lease)
  if left_ms < 0 or left_ms > 60000 then
    redis.call('PEXPIRE', lease, ARGV[2])
    left_ms = tonumber(ARGV[2])
  end
  local urged = tonumber(text_of(urge) or '')
  if not urged or tonumber(priority) < urged then redis.call('SET', urge, priority, 'PX', ARGV[2]) end
  return {'joined', tostring(left_ms)}
end

-- A failure without an end, or with one too far off, is not ours: it would answer for ever.
local function failure_of(key)
  local record = text_of(key)
  if not record then return false end
  local left_ms = redis.call('PTTL', key)
  if left_ms >= 0 and left_ms <= LONGEST_FAILURE_MS then return record end
  redis.call('DEL', key)
  return false
end

for i = 1, #KEYS, 3 do
  local lease, failure, urge = KEYS[i], KEYS[i + 1], KEYS[i + 2]
  local holder = text_of(lease)
  local failed = holder ~= ARGV[1] and failure_of(failure)
  if failed then
    reply[#reply + 1] = {'failed', failed}
  elseif holder and holder ~= ARGV[1] then
    reply[#reply + 1] = join(lease, urge, ARGV[2 + (i + 2) / 3])
  else
    redis.call('SET', lease, ARGV[1], 'PX', ARGV[2])
    if not holder then redis.call('DEL', urge) end
    reply[#reply + 1] = {'led', text_of(urge) or ''}
  end
end
return reply
