-- What a ledger holds, in the form that all stores have in common.
-- name: ended
SELECT number FROM job WHERE finished_at IS NOT NULL AND number > :after ORDER BY number LIMIT :limit
-- name: rest
SELECT number FROM job
WHERE number > :after AND (finished_at IS NULL OR number IN (SELECT number FROM moving_job))
ORDER BY number LIMIT :limit
-- name: changed
SELECT number FROM moving_job WHERE number > :after ORDER BY number LIMIT :limit
-- name: job
SELECT number, id, status, queue, priority, attempt, max_attempts, token, lost, run, seq, holder,
       submitted_at, run_at, started_at, finished_at, expires_at, cancel_requested_at, timeout_us,
       discarded, tenant, task, coalesce(concurrency_key, ''), key, tags, notify, args, progress, result,
       error, artifacts, deadline_us, deadline_at, cursor, sole_key
FROM job WHERE number IN (SELECT value FROM json_each(:numbers)) ORDER BY number
-- name: event
SELECT position, job, seq, type, at, data
FROM event WHERE job IN (SELECT value FROM json_each(:numbers)) ORDER BY job, seq
-- name: idempotency
SELECT tenant, key, fingerprint, job_id, submitted_at, expires_at
FROM idempotency WHERE (tenant, key) > (:first, :second) ORDER BY tenant, key LIMIT :limit
-- name: doc
-- Workers belong to the place where they registered; so does the record of where a ledger came from.
SELECT kind, key, version, doc, lease_until
FROM doc WHERE (kind, key) > (:first, :second) AND kind NOT IN ('worker', 'moved')
ORDER BY kind, key LIMIT :limit
-- name: level
SELECT queue, priority, at, starts FROM level ORDER BY queue, priority
-- name: lane
SELECT queue, priority, tenant, key, max(pass) FROM line WHERE pass > 0
GROUP BY queue, priority, tenant, key ORDER BY queue, priority, tenant, key
-- name: pace
SELECT subject, due, at FROM pace ORDER BY subject
-- name: counters
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job'), 0),
       coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)
-- name: last
SELECT coalesce(max(number), 0) FROM job WHERE finished_at IS NOT NULL
-- name: holders
SELECT DISTINCT holder FROM job WHERE status = 'processing' AND holder IN (
  SELECT key FROM doc WHERE kind = 'worker' AND lease_until > :now)
-- name: hold_jobs
SELECT 1 FROM job WHERE status = 'processing' AND holder IN (SELECT value FROM json_each(:holders)) LIMIT 1
-- name: tally_job
SELECT count(*), coalesce(sum(number), 0), coalesce(sum(token), 0), coalesce(sum(seq), 0),
  coalesce(sum(attempt), 0), coalesce(sum(length(args)), 0), coalesce(sum(length(result)), 0),
  coalesce(sum(finished_at % 1000003), 0), coalesce(sum(run_at % 1000003), 0)
FROM job
-- name: tally_event
SELECT count(*), coalesce(sum(position), 0), coalesce(sum(seq), 0), coalesce(sum(length(data)), 0),
  coalesce(sum(at % 1000003), 0)
FROM event
-- name: tally_idempotency
SELECT count(*), coalesce(sum(length(key)), 0), coalesce(sum(expires_at % 1000003), 0) FROM idempotency
-- name: tally_doc
SELECT count(*), coalesce(sum(length(key)), 0), coalesce(sum(length(doc)), 0), coalesce(sum(version), 0)
FROM doc WHERE kind NOT IN ('worker', 'moved')
