-- Write the newest candles of one flush: the hash of buckets, its meta hash, both TTLs.
-- KEYS  candles, meta, candles, meta, ... one pair a record
-- ARGV  epoch, ttl_ms, MessagePack list of records: whole (true: replace all; false: change what is there),
--       set (bucket start, JSON, bucket start, JSON, ...), drop (bucket starts), size (buckets there are
--       afterwards), meta (field map)
-- Reply now_ms, written, older (refused: we hold something newer), fenced (refused: a newer owner wrote),
--       the highest epoch found, then the indices of the incomplete, from 1: what is to be changed is not there,
--       not ours or not whole, so that the sink must write the whole
-- `fence.lua` goes before this.
-- The hash of buckets holds nothing but buckets, so its meta hash is the fence for both.

local epoch, ttl_ms = tonumber(ARGV[1]), ARGV[2]
local records = cmsgpack.unpack(ARGV[3])
local clock = redis.call('TIME')
local now_ms = string.format('%.0f', clock[1] * 1000 + math.floor(clock[2] / 1000))

-- A backfill adds buckets to what the same message of the stream has brought: an equal sequence is not older.
local function is_outdone(held, meta)
  if held[2] == meta.feed and held[3] == meta.connection then
    local sequence = tonumber(held[4])
    return sequence and tonumber(meta.sequence) < sequence
  end
  return held[5] and is_older(meta.time, held[5])
end

local function buckets_in(key)
  local count = redis.pcall('HLEN', key)
  return type(count) == 'number' and count or 0
end

local highest = 0

local function verdict(key, meta_key, record)
  local held = stored(meta_key)
  local held_epoch = held and tonumber(held[1])
  if held then highest = math.max(highest, held_epoch) end
  if held and held_epoch > epoch then return 'fenced' end
  local is_there = held and held_epoch == epoch and buckets_in(key) > 0
  if not is_there then return record.whole and 'newer' or 'incomplete' end
  return is_outdone(held, record.meta) and 'older' or 'newer'
end

local incomplete, count = {}, {newer = 0, older = 0, fenced = 0, incomplete = 0}
for i, record in ipairs(records) do
  local key, meta_key = KEYS[2 * i - 1], KEYS[2 * i]
  local ruling = verdict(key, meta_key, record)
  count[ruling] = count[ruling] + 1
  if ruling == 'newer' then
    if record.whole then redis.call('DEL', key) end
    if #record.set > 0 then redis.call('HSET', key, unpack(record.set)) end
    if #record.drop > 0 then redis.call('HDEL', key, unpack(record.drop)) end
    local meta, flat, n = record.meta, {}, 0
    meta.written_ms = now_ms
    for field, value in pairs(meta) do
      flat[n + 1], flat[n + 2] = field, value
      n = n + 2
    end
    redis.call('DEL', meta_key)
    redis.call('HSET', meta_key, unpack(flat))
    redis.call('PEXPIRE', key, ttl_ms)
    redis.call('PEXPIRE', meta_key, ttl_ms)
  end
  -- Somebody has removed buckets, or put his own among ours.
  if ruling == 'incomplete' or (ruling == 'newer' and buckets_in(key) ~= record.size) then
    incomplete[#incomplete + 1] = i
  end
end
return {now_ms, count.newer, count.older, count.fenced, string.format('%.0f', highest), unpack(incomplete)}
