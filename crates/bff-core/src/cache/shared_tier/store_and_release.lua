-- Keeps a record for others and gives back the right to make its call: the same KEYS. ARGV: whose right it is, the
-- record, and for how many milliseconds it is kept.
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
