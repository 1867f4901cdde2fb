-- Returns the record under KEYS[1] and its TTL in milliseconds. If there is none, stores ARGV[1] for ARGV[2] ms.
local existing = redis.call('GET', KEYS[1])
if existing then return { existing, redis.call('PTTL', KEYS[1]) } end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
