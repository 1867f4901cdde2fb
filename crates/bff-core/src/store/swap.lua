-- When the record under KEYS[1] is still ARGV[1]: ARGV[2] replaces it for ARGV[3] ms, or it goes.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
else
  redis.call('DEL', KEYS[1])
end
return 1
