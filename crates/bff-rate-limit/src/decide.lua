-- Decides on all policies of one request, with the arithmetic of algorithm.rs.
-- KEYS has one counter per policy. ARGV has five numbers per policy: algorithm, limit, period, burst, cost.
-- Algorithms: 0 fixed_window, 1 sliding_window, 2 token_bucket, 3 leaky_bucket_queue.
-- Times are whole microseconds. Every product is below 2^53 and so exact. Takes nothing unless all policies allow it.
-- Returns five numbers per policy: allowed, remaining, reset, retry_after, wait.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local reply, writes, all_allowed = {}, {}, true

local function ceil_div(a, b) return math.floor((a + b - 1) / b) end

for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local algorithm, limit, period = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local burst, cost = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local stored = redis.call('GET', key)
  local s1, s2, s3
  if stored then
    s1, s2, s3 = string.match(stored, '(%d+):(%d+):(%d+)')
    s1, s2, s3 = tonumber(s1), tonumber(s2), tonumber(s3)
  end
  local allowed, remaining, reset, retry, wait = false, 0, 0, 0, 0
  local expires_in
  if algorithm == 0 then
    if not s1 or now >= s1 + period then s1, s2 = now, 0 end
    s3 = 0
    local left = s1 + period - math.max(now, s1)
    allowed = s2 + cost <= limit
    if allowed then s2 = s2 + cost else retry = left end
    remaining = math.max(limit - s2, 0)
    if s2 > 0 then reset = left end
    expires_in = s1 + period - now
  elseif algorithm == 1 then
    if not s1 or now >= s1 + 2 * period then
      s1, s2, s3 = now, 0, 0
    elseif now >= s1 + period then
      s1, s2, s3 = s1 + period, 0, s2
    end
    local left = s1 + period - math.max(now, s1)
    local used = s2 + ceil_div(s3 * left, period)
    local room = limit - cost
    allowed = used + cost <= limit
    if allowed then
      s2, used = s2 + cost, used + cost
    elseif s2 <= room then
      retry = left - math.floor((room - s2) * period / math.max(s3, 1))
    else
      retry = left + period - math.floor(room * period / s2)
    end
    remaining = math.max(limit - used, 0)
    if s2 > 0 then reset = left + period elseif s3 > 0 then reset = left end
    expires_in = s1 + 2 * period - now
  else
    local interval = ceil_div(period, limit)
    local capacity = burst * interval
    s1, s2, s3 = math.max(s1 or now, now), 0, 0
    local after = s1 + cost * interval
    if algorithm == 3 then
      wait = s1 + (cost - 1) * interval - now
      allowed = wait <= capacity
      if not allowed then retry, wait = wait - capacity, 0 end
      capacity = capacity + interval
    else
      allowed = after - now <= capacity
      if not allowed then retry = after - now - capacity end
    end
    if allowed then s1 = after end
    remaining = math.floor(math.max(capacity - (s1 - now), 0) / interval)
    reset = s1 - now
    expires_in = s1 - now
  end
  all_allowed = all_allowed and allowed
  writes[i] = { string.format('%.0f:%.0f:%.0f', s1, s2, s3), string.format('%.0f', math.ceil(expires_in / 1000) + 1) }
  for _, number in ipairs({ allowed and 1 or 0, remaining, reset, retry, wait }) do
    reply[#reply + 1] = number
  end
end

if all_allowed then
  for i, key in ipairs(KEYS) do redis.call('SET', key, writes[i][1], 'PX', writes[i][2]) end
end
return reply
