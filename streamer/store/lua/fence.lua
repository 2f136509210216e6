-- What every script that writes realtime keys knows of fencing and order; it goes before their own text.

-- RFC 3339 in UTC with 0 to 9 decimals. Compared as numbers: Lua compares strings by locale.
local function instant(text)
  local date, fraction = string.match(text, '^([%d%-]+T[%d:]+)%.?(%d*)Z$')
  if not date then return 0, 0 end
  return tonumber((string.gsub(date, '%D', ''))), tonumber((fraction .. '000000000'):sub(1, 9))
end

local function is_older(time, than)
  local s, ns = instant(time)
  local than_s, than_ns = instant(than)
  return s < than_s or (s == than_s and ns < than_ns)
end

-- Epochs are clock readings in ms: what has more than 15 digits is none, and doubles could not tell it apart.
local function stored(key)
  local held = redis.pcall('HMGET', key, 'epoch', 'feed', 'connection', 'sequence', 'time')
  if held.err or not held[1] or not string.match(held[1], '^%d+$') or #held[1] > 15 then return nil end
  return held
end

