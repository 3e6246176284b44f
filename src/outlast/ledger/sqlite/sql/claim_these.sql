-- The rows were read under the same write lock, so they are as they were.
UPDATE job SET
  status = 'processing', token = token + 1, attempt = attempt + 1, seq = seq + 1,
  holder = :holder, started_at = :now
WHERE number IN (SELECT value FROM json_each(:numbers))
RETURNING number, seq, id, task, queue, CAST(args AS BLOB), token, attempt, max_attempts, lost,
          run, priority, timeout_us, cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
