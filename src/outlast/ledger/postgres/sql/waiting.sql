-- The next jobs of a line: the index gives them in order and nothing between.
SELECT number FROM outlast.job
WHERE status = 'pending' AND queue = :queue AND (-priority) = -:priority::integer AND tenant = :tenant
  AND concurrency_key = :key AND task = :task AND (expires_at IS NULL OR expires_at > :now)
ORDER BY number LIMIT :limit
