-- Gets the shared record of a request, or takes the lease to call the backend for all replicas.
-- KEYS: 1 the record, 2 the lease. ARGV: 1 the lease token, 2 the lease time in milliseconds.
-- Returns {record, its TTL in milliseconds}; {'', 1} if the lease was acquired; {'', 0} if another replica holds it.
local record = redis.call('GET', KEYS[1])
if record then return {record, redis.call('PTTL', KEYS[1])} end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {'', 1} end
return {'', 0}
