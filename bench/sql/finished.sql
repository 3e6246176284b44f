INSERT INTO outlast.job (id, status, queue, priority, max_attempts, submitted_at, run_at, started_at,
  finished_at, tenant, task, concurrency_key, tags, notify, args, result)
SELECT 'done-' || n, 'completed', 'bench', 0, 4, n, n, n, n, '', 'noop', '', '[]', '[]', '{}', '1'
FROM generate_series(1, $1::bigint) AS n
