-- KEYS: waiting, wake and held of each queue. ARGV: limit, microseconds of holding, a name for this call,
-- the longest message. Returns pairs of a queue's number and a receipt: a unique name, a space, the message.
local limit, hold, call, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local found = {}
for i = 1, #KEYS, 3 do
  local waiting, wake, held = KEYS[i], KEYS[i + 1], KEYS[i + 2]
  for _, receipt in ipairs(redis.call('ZRANGEBYSCORE', held, '-inf', string.format('%.0f', now), 'LIMIT', 0, 1000)) do
    redis.call('ZREM', held, receipt)
    redis.call('LPUSH', waiting, string.sub(receipt, string.find(receipt, ' ', 1, true) + 1))
  end
  while #found < 2 * limit do
    local message = redis.call('LPOP', waiting)
    if not message then
      break
    end
    if #message <= longest then
      local receipt = call .. '.' .. #found .. ' ' .. message
      redis.call('ZADD', held, string.format('%.0f', now + hold), receipt)
      found[#found + 1] = (i + 2) / 3
      found[#found + 1] = receipt
    end
  end
  ring(waiting, wake)
end
return found
