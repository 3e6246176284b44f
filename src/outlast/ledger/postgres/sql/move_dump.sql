-- What a ledger holds, in the form that all stores have in common.
-- name: ended
SELECT number FROM outlast.job WHERE finished_at IS NOT NULL AND number > :after ORDER BY number LIMIT :limit
-- name: rest
SELECT number FROM outlast.job
WHERE number > :after
  AND (finished_at IS NULL OR EXISTS (SELECT FROM outlast.moving_job AS noted WHERE noted.number = job.number))
ORDER BY number LIMIT :limit
-- name: changed
SELECT number FROM outlast.moving_job WHERE number > :after ORDER BY number LIMIT :limit
-- name: job
SELECT number, id, status, queue, priority, attempt, max_attempts, token, lost, run, seq, holder,
       submitted_at, run_at, started_at, finished_at, expires_at, cancel_requested_at, timeout_us,
       discarded::integer, tenant, task, concurrency_key, key, tags, notify, args, progress, result,
       error, artifacts, deadline_us, deadline_at, cursor, sole_key
FROM outlast.job WHERE number = ANY (:numbers::bigint[]) ORDER BY number
-- name: event
SELECT position, job, seq, type, at, data
FROM outlast.event WHERE job = ANY (:numbers::bigint[]) ORDER BY job, seq
-- name: idempotency
SELECT tenant, key, fingerprint, job_id, submitted_at, expires_at
FROM outlast.idempotency WHERE (tenant, key) > (:first::text, :second::text) ORDER BY tenant, key LIMIT :limit
-- name: doc
-- Workers belong to the place where they registered; so does the record of where a ledger came from.
SELECT kind, key, version, doc, lease_until
FROM outlast.doc WHERE (kind, key) > (:first::text, :second::text) AND kind NOT IN ('worker', 'moved')
ORDER BY kind, key LIMIT :limit
-- name: level
SELECT queue, priority, at, starts FROM outlast.level ORDER BY queue, priority
-- name: lane
SELECT queue, priority, tenant, key, pass FROM outlast.turn ORDER BY queue, priority, tenant, key
-- name: pace
SELECT subject, due, at FROM outlast.pace ORDER BY subject
-- name: counters
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outlast.job', 'number')), 0),
       coalesce(pg_sequence_last_value(pg_get_serial_sequence('outlast.event', 'position')), 0)
-- name: last
SELECT coalesce(max(number), 0) FROM outlast.job WHERE finished_at IS NOT NULL
-- name: holders
SELECT DISTINCT holder FROM outlast.job WHERE status = 'processing' AND holder IN (
  SELECT key FROM outlast.doc WHERE kind = 'worker' AND lease_until > outlast.instant(NULL))
-- name: hold_jobs
SELECT 1 FROM outlast.job WHERE status = 'processing' AND holder = ANY (:holders::text[]) LIMIT 1
-- name: tally_job
SELECT count(*), coalesce(sum(number), 0)::bigint, coalesce(sum(token), 0), coalesce(sum(seq), 0),
  coalesce(sum(attempt), 0), coalesce(sum(length(args)), 0), coalesce(sum(length(result)), 0),
  coalesce(sum(finished_at % 1000003), 0)::bigint, coalesce(sum(run_at % 1000003), 0)::bigint
FROM outlast.job
-- name: tally_event
SELECT count(*), coalesce(sum(position), 0)::bigint, coalesce(sum(seq), 0), coalesce(sum(length(data)), 0),
  coalesce(sum(at % 1000003), 0)::bigint
FROM outlast.event
-- name: tally_idempotency
SELECT count(*), coalesce(sum(length(key)), 0), coalesce(sum(expires_at % 1000003), 0)::bigint
FROM outlast.idempotency
-- name: tally_doc
SELECT count(*), coalesce(sum(length(key)), 0), coalesce(sum(length(doc)), 0), coalesce(sum(version), 0)::bigint
FROM outlast.doc WHERE kind NOT IN ('worker', 'moved')
