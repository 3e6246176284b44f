-- The same for one job, whose values need not be unpacked from arrays.
WITH made AS (
  INSERT INTO outlast.job (id, status, queue, priority, max_attempts, submitted_at, run_at, expires_at,
                           deadline_us, deadline_at, timeout_us, tenant, task, concurrency_key, key,
                           sole_key, tags, notify, args)
  SELECT :id::text,
         CASE WHEN coalesce(:run_at::bigint, now + :delay_us::bigint) > now THEN 'scheduled' ELSE 'pending' END,
         :queue::text, :priority::integer, :max_attempts::integer, now,
         greatest(coalesce(:run_at::bigint, now + :delay_us::bigint), now), now + :expires_in_us::bigint,
         :deadline_us::bigint, now + :deadline_us::bigint, :timeout_us::bigint, :tenant::text, :task::text,
         coalesce(:concurrency_key::text, ''), :key::text, :sole_key::text, :tags::text, :notify::text, :args::text
  FROM (SELECT outlast.instant(:now) AS now OFFSET 0) AS clock
  ON CONFLICT (id) DO NOTHING
  RETURNING number, id, queue, task, status, submitted_at
), told AS (
  INSERT INTO outlast.event (job, seq, type, at, data)
  SELECT number, 1, 'submitted', submitted_at,
    json_build_object('queue', queue, 'task', task, 'delayed', status = 'scheduled')::text
  FROM made
)
SELECT id, submitted_at FROM made
