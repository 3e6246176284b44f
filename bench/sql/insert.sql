INSERT INTO outlast.job (id, status, queue, priority, max_attempts, submitted_at, run_at, expires_at,
  deadline_us, deadline_at, timeout_us, tenant, task, concurrency_key, key, sole_key, tags, notify, args)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
RETURNING number
