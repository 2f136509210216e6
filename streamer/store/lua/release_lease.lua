-- Give a lease up if it is still ours.
-- KEYS  stream:lease:<shard>
-- ARGV  owner

if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
