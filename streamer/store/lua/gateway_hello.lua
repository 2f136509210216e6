-- A process says that it is there and that Redis can be written to. `gateway_rules.lua` goes before this.
-- words process
-- Reply processes

return announce(words[1])
