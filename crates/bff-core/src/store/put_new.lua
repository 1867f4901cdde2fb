-- The record under KEYS[1] and for how many ms yet; when there is none, ARGV[1] becomes it for ARGV[2] ms.
local there = redis.call('GET', KEYS[1])
if there then return { there, redis.call('PTTL', KEYS[1]) } end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
