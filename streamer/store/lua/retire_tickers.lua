-- Remove the realtime hashes of products that are no longer streamed; their shadows stay.
-- KEYS  realtime hashes
-- ARGV  epoch
-- Reply how many were removed. What a newer owner writes is left alone.

local removed = 0
for _, key in ipairs(KEYS) do
  local epoch = redis.pcall('HGET', key, 'epoch')
  if type(epoch) ~= 'string' or (tonumber(epoch) or 0) <= tonumber(ARGV[1]) then
    removed = removed + redis.call('DEL', key)
  end
end
return removed
