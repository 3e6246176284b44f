-- Jobs and their first events, in one statement. The unique ID makes a repeated insert a no-op.
WITH made AS (
  INSERT INTO outlast.job (id, status, queue, priority, max_attempts, submitted_at, run_at, expires_at,
                           deadline_us, deadline_at, timeout_us, tenant, task, concurrency_key, key,
                           sole_key, tags, notify, args)
  SELECT id, CASE WHEN coalesce(run_at, now + delay_us) > now THEN 'scheduled' ELSE 'pending' END,
         queue, priority, max_attempts, now, greatest(coalesce(run_at, now + delay_us), now),
         now + expires_in_us, deadline_us, now + deadline_us, timeout_us, tenant, task,
         coalesce(concurrency_key, ''), key, sole_key, tags, notify, args
  FROM (SELECT outlast.instant(:now) AS now OFFSET 0) AS clock,
       unnest(:id::text[], :queue::text[], :priority::integer[], :max_attempts::integer[],
              :delay_us::bigint[], :run_at::bigint[], :expires_in_us::bigint[], :deadline_us::bigint[],
              :timeout_us::bigint[], :tenant::text[], :task::text[], :concurrency_key::text[],
              :key::text[], :sole_key::text[], :tags::text[], :notify::text[], :args::text[])
       WITH ORDINALITY AS new (id, queue, priority, max_attempts, delay_us, run_at, expires_in_us,
                               deadline_us, timeout_us, tenant, task, concurrency_key, key, sole_key,
                               tags, notify, args, place)
  ORDER BY place
  ON CONFLICT (id) DO NOTHING
  RETURNING number, id, queue, task, status, submitted_at
), told AS (
  INSERT INTO outlast.event (job, seq, type, at, data)
  SELECT number, 1, 'submitted', submitted_at,
    json_build_object('queue', queue, 'task', task, 'delayed', status = 'scheduled')::text
  FROM made ORDER BY number
)
SELECT id, submitted_at FROM made
