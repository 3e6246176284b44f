SELECT id, task, queue, CAST(args AS BLOB), token, attempt, max_attempts, lost,
       run, priority, timeout_us, cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
FROM job
WHERE status = 'processing' AND holder IN (
  SELECT DISTINCT holder FROM job WHERE status = 'processing'
  EXCEPT SELECT key FROM doc WHERE kind = 'worker' AND lease_until <> 0)
ORDER BY number
LIMIT :limit
