-- The unique ID makes a repeated insert of the same job a no-op.
INSERT INTO job (id, status, queue, priority, max_attempts, submitted_at, run_at, expires_at,
                 deadline_us, deadline_at, timeout_us, tenant, task, concurrency_key, key, sole_key, tags, notify, args)
VALUES (:id, :status, :queue, :priority, :max_attempts, :now, :run_at, :expires_at,
        :deadline_us, :now + :deadline_us, :timeout_us, :tenant, :task, :concurrency_key, :key, :sole_key, :tags, :notify, :args)
ON CONFLICT (id) DO NOTHING
RETURNING number
