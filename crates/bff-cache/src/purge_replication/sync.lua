-- Publishes purges and reads those of other replicas. A purge is a slot; each slot has the version of its latest purge.
-- KEYS: 1 a sorted set of slots by version.
-- ARGV: 1 the latest version the caller has seen, 2 the retention of purges in microseconds, 3 the channel,
--   4 the maximum number of purges to return, 5... the slots to purge now.
-- Versions are the microseconds of Redis' clock. They never decrease, even if that clock goes back or data is lost.
-- Returns the version of this purge (0: none), the latest version before it (0: none), and the purges after ARGV[1].
local seen, retention = tonumber(ARGV[1]), tonumber(ARGV[2])
local function text(n) return string.format('%.0f', n) end
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local version, before = 0, tonumber(last[2] or '0')
if #ARGV > 4 then
  local time = redis.call('TIME')
  version = math.max(tonumber(time[1]) * 1000000 + tonumber(time[2]), before + 1, seen + 1)
  for i = 5, #ARGV do redis.call('ZADD', KEYS[1], text(version), ARGV[i]) end
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(version - retention))
  redis.call('PUBLISH', ARGV[3], '')
end
redis.call('PEXPIRE', KEYS[1], text(retention / 1000))
local purges = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(seen), '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[4])
for i = 2, #purges, 2 do purges[i] = text(tonumber(purges[i])) end
return {text(version), text(before), purges}
