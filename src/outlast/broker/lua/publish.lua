-- KEYS: waiting, wake and held of each queue. ARGV: pairs of a queue's number and a message.
for i = 1, #ARGV, 2 do
  redis.call('RPUSH', KEYS[3 * ARGV[i] - 2], ARGV[i + 1])
end
for i = 1, #KEYS, 3 do
  ring(KEYS[i], KEYS[i + 1])
end
