-- The record under KEYS[1]; when there is none, ARGV[1] becomes it for ARGV[2] ms and nothing is answered.
local kept = redis.call('GET', KEYS[1])
if kept then return kept end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
