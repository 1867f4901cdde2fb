-- What replicas share of one request: KEYS[1] is its record, KEYS[2] the right to make the call for it alone. ARGV: who
-- asks, and for how many milliseconds that right would last. Answers the record and the milliseconds left of it; or 1
-- when the right was given, and 0 when somebody else has it.
local record = redis.call('GET', KEYS[1])
if record then return {record, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'', 1} end
return {'', 0}
