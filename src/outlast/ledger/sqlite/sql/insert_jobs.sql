-- Many plain jobs in one statement: each statement is a chance for another thread to take the
-- interpreter's lock, and to keep it for longer than the insert takes.
-- name: head
INSERT INTO job (id, status, queue, priority, max_attempts, submitted_at, run_at, expires_at,
                 deadline_us, deadline_at, timeout_us, tenant, task, concurrency_key, tags, notify, args)
VALUES
-- name: row
(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
-- name: events
INSERT INTO event (job, seq, type, at, data)
SELECT number, 1, 'submitted', submitted_at, json_object('queue', queue, 'task', task, 'delayed',
  json(CASE status WHEN 'scheduled' THEN 'true' ELSE 'false' END))
FROM job WHERE number > :last - :count AND number <= :last
