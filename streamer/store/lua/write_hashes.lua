-- Write the newest records of one flush: realtime hash, stale shadow, both TTLs, one notification.
-- KEYS  realtime, stale, realtime, stale, ... one pair a record; then, optionally, a set that lists what there is
-- ARGV  epoch, ttl_ms, stale_ttl_ms, channel ('' = tell nobody), MessagePack list of field maps,
--       the field of a record that goes into the set ('' = there is no set)
-- Reply now_ms, written, older (refused: we hold something newer), fenced (refused: a newer owner wrote),
--       the highest epoch found
-- `fence.lua` goes before this.
-- Everything of an update happens in here: a write left outside would slip past the fence.

local epoch = tonumber(ARGV[1])
local ttl_ms, stale_ttl_ms, channel = ARGV[2], ARGV[3], ARGV[4]
local records = cmsgpack.unpack(ARGV[5])
local clock = redis.call('TIME')
local now_ms = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))

local set, member = KEYS[2 * #records + 1], ARGV[6]
if set then
  local kind = redis.call('TYPE', set).ok
  if kind ~= 'none' and kind ~= 'set' then redis.call('DEL', set) end
end

local highest = 0

local function verdict(held, record)
  local held_epoch = tonumber(held[1])
  highest = math.max(highest, held_epoch)
  if held_epoch ~= epoch then
    return held_epoch > epoch and 'fenced' or 'newer'
  end
  -- Records without a sequence have one writer an epoch, which calls us in order.
  if not record.sequence then return 'newer' end
  if held[2] == record.feed and held[3] == record.connection then
    local sequence = tonumber(held[4])
    return sequence and tonumber(record.sequence) < sequence and 'older' or 'newer'
  end
  return held[5] and is_older(record.time, held[5]) and 'older' or 'newer'
end

local changed, count = {}, {newer = 0, older = 0, fenced = 0}
for i, record in ipairs(records) do
  local key, shadow = KEYS[2 * i - 1], KEYS[2 * i]
  local held = stored(key) or stored(shadow)
  local ruling = held and verdict(held, record) or 'newer'
  count[ruling] = count[ruling] + 1
  if ruling == 'newer' then
    record.written_ms = now_ms
    local flat, n = {}, 0
    for field, value in pairs(record) do
      flat[n + 1], flat[n + 2] = field, value
      n = n + 2
    end
    -- DEL first: a field the exchange no longer sends must not survive, nor a foreign key of another type.
    redis.call('DEL', key)
    redis.call('HSET', key, unpack(flat))
    redis.call('COPY', key, shadow, 'REPLACE')
    redis.call('PEXPIRE', key, ttl_ms)
    redis.call('PEXPIRE', shadow, stale_ttl_ms)
    if set then redis.call('SADD', set, record[member]) end
    changed[#changed + 1] = record
  end
end
if channel ~= '' and #changed > 0 then
  redis.call('PUBLISH', channel, cmsgpack.pack(changed))
end
return {now_ms, count.newer, count.older, count.fenced, string.format('%.0f', highest)}
