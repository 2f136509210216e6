-- Take a delivery once: claim its id, keep it, tell of it.
-- KEYS  webhooks:seen:<provider>:<digest of the id>, webhooks:events
-- ARGV  digest of the content, ttl_ms of the claim, most events, channel, what to publish, then fields and values
-- Reply "stored", "duplicate" (taken before), or "conflict" (taken before with another content)
-- All or nothing: the first write is the one that a full Redis refuses. Sent twice, the second is a duplicate.

for number, right in ipairs({'string', 'stream'}) do
  local kind = redis.call('TYPE', KEYS[number]).ok
  if kind ~= 'none' and kind ~= right then redis.call('DEL', KEYS[number]) end
end
local held = redis.call('GET', KEYS[1])
if held then
  return held == ARGV[1] and 'duplicate' or 'conflict'
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', unpack(ARGV, 6))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[5])
return 'stored'
