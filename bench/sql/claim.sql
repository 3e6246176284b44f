WITH next AS MATERIALIZED (
  SELECT number FROM outlast.job WHERE status = 'pending' AND queue = $1
  ORDER BY queue, (-priority), tenant, concurrency_key, task, number LIMIT $3 FOR UPDATE SKIP LOCKED
)
UPDATE outlast.job SET status = 'processing', token = token + 1, attempt = attempt + 1, holder = 'bare',
  started_at = $2
FROM next WHERE job.number = next.number RETURNING job.number, job.id, job.args
