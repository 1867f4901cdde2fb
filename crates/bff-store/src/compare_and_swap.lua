-- If the record under KEYS[1] is ARGV[1]: replaces it by ARGV[2] for ARGV[3] ms, or deletes it without ARGV[2].
-- Returns 1 if it did, 0 otherwise.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
