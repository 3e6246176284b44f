-- name: select
SELECT id, number, tenant, task, queue, status, priority, attempt, max_attempts, token, lost, run,
       seq, CAST(args AS BLOB), submitted_at, run_at, started_at, finished_at, expires_at, cancel_requested_at,
       timeout_us, deadline_us, deadline_at, holder, concurrency_key, key, tags, notify, progress, result, error, artifacts, cursor, sole_key
FROM job
-- name: count_by:
SELECT count(*) FROM job
-- name: count_by:queue
SELECT queue, status, count(*) FROM job
-- name: count_by:error
SELECT coalesce(json_extract(error, '$.fingerprint'), ''), count(*) FROM job
-- name: group_by:
-- name: group_by:queue
GROUP BY queue, status
-- name: group_by:error
GROUP BY 1
-- name: ids
id IN (SELECT value FROM json_each(:ids))
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
EXISTS (SELECT 1 FROM json_each(tags) WHERE value = :tag)
-- name: text
(instr(lower(id), lower(:text)) OR instr(lower(task), lower(:text))
 OR instr(lower(args), lower(:text)) OR instr(lower(coalesce(error, '')), lower(:text)))
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
json_extract(error, '$.fingerprint') = :fingerprint
-- name: ahead_of
status = 'pending' AND id <> :ahead_of AND EXISTS (
  SELECT 1 FROM job AS me WHERE me.id = :ahead_of AND me.queue = job.queue
  AND (job.priority, -job.number) > (me.priority, -me.number))
-- name: discarded
discarded = :discarded
-- name: after:newest
number < :after
-- name: after:oldest
number > :after
-- name: after:ended
finished_at IS NOT NULL AND (finished_at, number) > (:ended_at, :ended_number)
-- name: order:ended
ORDER BY finished_at, number LIMIT :limit
-- name: order:newest
ORDER BY number DESC LIMIT :limit
-- name: order:oldest
ORDER BY number LIMIT :limit
