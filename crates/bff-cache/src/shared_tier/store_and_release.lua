-- Stores the record of a request and releases its lease, if the caller still holds it.
-- KEYS: 1 the record, 2 the lease. ARGV: 1 the lease token, 2 the record, 3 its TTL in milliseconds.
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
