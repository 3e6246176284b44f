-- As many wake-ups lie ready as tickets wait, up to a few: each ends one blocked pop, which comes to look.
local function ring(waiting, wake)
  local want = math.min(redis.call('LLEN', waiting), 16)
  local have = redis.call('LLEN', wake)
  for _ = have + 1, want do
    redis.call('RPUSH', wake, '')
  end
  if want == 0 and have > 0 then
    redis.call('DEL', wake)
  elseif have > want then
    redis.call('LTRIM', wake, 0, want - 1)
  end
end
