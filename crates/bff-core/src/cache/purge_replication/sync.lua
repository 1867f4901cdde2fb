-- What was purged, by slot, each with the version of its latest purge: KEYS[1], a sorted set. ARGV: the latest version
-- the caller knows, for how many microseconds a purge matters, the channel, the most to tell, then slots to purge now.
-- Versions are Redis' own microseconds and never go back: neither when its clock does nor when it lost what it knew.
-- Answers the version of this purge (0: none), the latest before it (0: none), and what the caller does not know yet.
local seen, matters = tonumber(ARGV[1]), tonumber(ARGV[2])
local function text(n) return string.format('%.0f', n) end
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local version, before = 0, tonumber(last[2] or '0')
if #ARGV > 4 then
  local time = redis.call('TIME')
  version = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), before + 1, seen + 1)
  for i = 5, #ARGV do redis.call('ZADD', KEYS[1], text(version), ARGV[i]) end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(version - matters))
  redis.call('PUBLISH', ARGV[3], '')
end
redis.call('PEXPIRE', KEYS[1], text(matters / 1000))
local news = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(seen), '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
for i = 2, #news, 2 do news[i] = text(tonumber(news[i])) end
return {text(version), text(before), news}
