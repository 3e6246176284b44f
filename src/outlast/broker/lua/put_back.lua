-- KEYS: waiting, wake and held of each queue. ARGV: pairs of a queue's number and a receipt.
for i = 1, #ARGV, 2 do
  local first = 3 * ARGV[i] - 2
  if redis.call('ZREM', KEYS[first + 2], ARGV[i + 1]) == 1 then
    redis.call('LPUSH', KEYS[first], string.sub(ARGV[i + 1], string.find(ARGV[i + 1], ' ', 1, true) + 1))
  end
end
for i = 1, #KEYS, 3 do
  ring(KEYS[i], KEYS[i + 1])
end
