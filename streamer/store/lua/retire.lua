-- Remove what is no longer streamed; stale shadows stay.
-- KEYS  groups of keys that go together; the first of each is a hash with the epoch of its writer
-- ARGV  epoch, keys a group
-- Reply how many keys were removed. What a newer owner writes is left alone.

local size, removed = tonumber(ARGV[2]), 0
for first = 1, #KEYS, size do
  local epoch = redis.pcall('HGET', KEYS[first], 'epoch')
  if type(epoch) ~= 'string' or (tonumber(epoch) or 0) <= tonumber(ARGV[1]) then
    for i = first, first + size - 1 do removed = removed + redis.call('DEL', KEYS[i]) end
  end
end
return removed
