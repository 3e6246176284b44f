-- name: select
SELECT id, number, tenant, task, queue, status, priority, attempt, max_attempts, token, lost, run,
       seq, args, submitted_at, run_at, started_at, finished_at, expires_at, cancel_requested_at,
       timeout_us, deadline_us, deadline_at, holder, nullif(concurrency_key, ''), key, tags, notify, progress, result, error, artifacts, cursor, sole_key
FROM outlast.job
-- name: count_by:
SELECT count(*) FROM outlast.job
-- name: count_by:queue
SELECT queue, status, count(*) FROM outlast.job
-- name: count_by:error
SELECT coalesce(error::json ->> 'fingerprint', ''), count(*) FROM outlast.job
-- name: group_by:
-- name: group_by:queue
GROUP BY queue, status
-- name: group_by:error
GROUP BY 1
-- name: ids
id = ANY (:ids::text[])
-- name: tenant
tenant = :tenant
-- name: status
status = :status
-- name: status:pending
status = 'pending'
-- name: status:scheduled
status = 'scheduled'
-- name: status:processing
status = 'processing'
-- name: status:failed
status = 'failed'
-- name: queue
queue = :queue
-- name: task
task = :task
-- name: tag
EXISTS (SELECT FROM json_array_elements_text(tags::json) AS given (tag) WHERE given.tag = :tag)
-- name: text
(strpos(lower(id), lower(:text::text COLLATE "C")) > 0 OR strpos(lower(task), lower(:text::text COLLATE "C")) > 0
 OR strpos(lower(args), lower(:text::text COLLATE "C")) > 0
 OR strpos(lower(coalesce(error, '')), lower(:text::text COLLATE "C")) > 0)
-- name: holder
holder = :holder AND status = 'processing'
-- name: cancel_requested
cancel_requested_at IS NOT NULL
-- name: submitted_after
submitted_at >= :submitted_after
-- name: submitted_before
submitted_at < :submitted_before
-- name: due_before
status = 'scheduled' AND run_at <= :due_before
-- name: expired_before
expires_at <= :expired_before AND status IN ('scheduled', 'pending')
-- name: overdue_before
deadline_at <= :overdue_before AND status IN ('scheduled', 'pending', 'waiting')
-- name: fingerprint
error::json ->> 'fingerprint' = :fingerprint
-- name: ahead_of
status = 'pending' AND id <> :ahead_of AND EXISTS (
  SELECT FROM outlast.job AS me WHERE me.id = :ahead_of AND me.queue = job.queue
  AND (job.priority, -job.number) > (me.priority, -me.number))
-- name: discarded
discarded = :discarded
-- name: after:newest
number < :after
-- name: after:oldest
number > :after
-- name: after:ended
finished_at IS NOT NULL AND (finished_at, number) > (:ended_at::bigint, :ended_number::bigint)
-- name: order:ended
ORDER BY finished_at, number LIMIT :limit
-- name: order:newest
ORDER BY number DESC LIMIT :limit
-- name: order:oldest
ORDER BY number LIMIT :limit
