-- The next jobs of a line: the index gives them in order and nothing between.
SELECT number FROM job
WHERE status = 'pending' AND queue = :queue AND priority = :priority AND tenant = :tenant
  AND concurrency_key IS nullif(:key, '') AND task = :task AND number >= :head
  AND (expires_at IS NULL OR expires_at > :now)
ORDER BY number
LIMIT :limit
