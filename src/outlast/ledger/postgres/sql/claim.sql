-- The rows picked are locked, those that others pick are passed by, and never more than the limit: a
-- subquery would be free to run again.
WITH next AS MATERIALIZED (
  SELECT number FROM outlast.job
  WHERE status = 'pending' AND queue = :queue AND (-priority) = -:priority::integer AND tenant = :tenant
    AND concurrency_key = :key AND task = :task AND (expires_at IS NULL OR expires_at > :now)
  ORDER BY number
  LIMIT :limit
  FOR UPDATE SKIP LOCKED
), taken AS (
  UPDATE outlast.job SET
    status = 'processing', token = token + 1, attempt = attempt + 1, seq = seq + 1,
    holder = :holder, started_at = :now
  FROM next WHERE job.number = next.number
  RETURNING job.*
), told AS (
  INSERT INTO outlast.event (job, seq, type, at, data)
  SELECT number, seq, 'started', started_at,
    json_build_object('attempt', attempt, 'token', token, 'worker', holder)::text
  FROM taken ORDER BY number
)
SELECT number, id, task, queue, args, token, attempt, max_attempts, lost, run, priority, timeout_us,
       cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
FROM taken ORDER BY number
