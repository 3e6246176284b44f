-- The lines of a queue by as many steps down the index, each with the first of its jobs and its turn.
WITH RECURSIVE line AS (
  (SELECT priority, tenant, concurrency_key, task FROM outlast.job
   WHERE status = 'pending' AND queue = :queue
   ORDER BY (-priority), tenant, concurrency_key, task LIMIT 1)
  UNION ALL
  SELECT next.* FROM line CROSS JOIN LATERAL (
    SELECT priority, tenant, concurrency_key, task FROM outlast.job
    WHERE status = 'pending' AND queue = :queue
      AND ((-priority), tenant, concurrency_key, task)
        > (-line.priority, line.tenant, line.concurrency_key, line.task)
    ORDER BY (-priority), tenant, concurrency_key, task LIMIT 1
  ) AS next
)
SELECT line.priority, line.task, line.tenant, line.concurrency_key, coalesce(turn.pass, 0),
  ARRAY(
    SELECT number FROM outlast.job
    WHERE status = 'pending' AND queue = :queue AND (-priority) = -line.priority
      AND tenant = line.tenant AND concurrency_key = line.concurrency_key AND task = line.task
      AND (expires_at IS NULL OR expires_at > :now)
    ORDER BY number LIMIT :most)
FROM line LEFT JOIN outlast.turn ON turn.queue = :queue AND turn.priority = line.priority
  AND turn.tenant = line.tenant AND turn.key = line.concurrency_key
