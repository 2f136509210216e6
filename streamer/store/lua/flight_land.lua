-- End flights: give up the leases that are ours, leave word of what failed, and wake whoever waits.
-- KEYS  lease, failure, urge, lease, failure, urge, ... three a flight
-- ARGV  token, channel, then for each flight: name, failure record ('' = none), its life in ms

for i = 1, #KEYS, 3 do
  local at = i + 2
  local name, record, life_ms = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if redis.pcall('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i], KEYS[i + 2]) end
  if record ~= '' then redis.call('SET', KEYS[i + 1], record, 'PX', life_ms) end
  redis.call('PUBLISH', ARGV[2], name)
end
return #KEYS / 3
