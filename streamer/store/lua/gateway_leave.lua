-- Give up a process's place in the line. `gateway_rules.lua` goes before this.
-- words budget, process, channel
-- Reply wakes: 1 if those who wait were woken

if on('HDEL', LINE, words[2]) == 1 and call('HLEN', LINE) > 0 then
  call('PUBLISH', words[3], words[1])
  return 1
end
return 0
