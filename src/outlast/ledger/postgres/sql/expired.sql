SELECT id, task, queue, args, token, attempt, max_attempts, lost, run, priority, timeout_us,
       cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
FROM outlast.job
WHERE status = 'processing' AND holder = ANY (ARRAY(
  SELECT holder FROM outlast.job WHERE status = 'processing'
  EXCEPT SELECT key FROM outlast.doc WHERE kind = 'worker' AND lease_until <> 0))
ORDER BY number
LIMIT :limit
