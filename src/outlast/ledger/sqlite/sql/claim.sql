-- One guarded statement under the write lock: the rows picked are the rows taken.
UPDATE job SET
  status = 'processing', token = token + 1, attempt = attempt + 1, seq = seq + 1,
  holder = :holder, started_at = :now
WHERE number IN (
  SELECT number FROM job
  WHERE status = 'pending' AND queue = :queue AND priority = :priority AND tenant = :tenant
    AND concurrency_key IS nullif(:key, '') AND task = :task AND (expires_at IS NULL OR expires_at > :now)
  ORDER BY number
  LIMIT :limit)
RETURNING number, seq, id, task, queue, CAST(args AS BLOB), token, attempt, max_attempts, lost,
          run, priority, timeout_us, cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
