-- They were chosen under the queue's lock, but for those that somebody cancelled or moved meanwhile.
WITH next AS MATERIALIZED (
  SELECT job.number, chosen.place
  FROM unnest(:numbers::bigint[]) WITH ORDINALITY AS chosen (number, place)
  JOIN outlast.job ON job.number = chosen.number
  WHERE job.status = 'pending' AND job.queue = :queue
  FOR UPDATE OF job
), taken AS (
  UPDATE outlast.job SET
    status = 'processing', token = token + 1, attempt = attempt + 1, seq = seq + 1,
    holder = :holder, started_at = :now
  FROM next WHERE job.number = next.number
  RETURNING job.*, next.place
), told AS (
  INSERT INTO outlast.event (job, seq, type, at, data)
  SELECT number, seq, 'started', started_at,
    json_build_object('attempt', attempt, 'token', token, 'worker', holder)::text
  FROM taken ORDER BY place
)
SELECT number, id, task, queue, args, token, attempt, max_attempts, lost, run, priority, timeout_us,
       cancel_requested_at IS NOT NULL, key, tenant, holder, submitted_at, deadline_at
FROM taken ORDER BY place
