-- name: job
INSERT INTO job (number, id, status, queue, priority, attempt, max_attempts, token, lost, run, seq, holder,
                 submitted_at, run_at, started_at, finished_at, expires_at, cancel_requested_at, timeout_us,
                 discarded, tenant, task, concurrency_key, key, tags, notify, args, progress, result,
                 error, artifacts, deadline_us, deadline_at, cursor, sole_key)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?,
        ?, ?, ?, ?, ?, ?)
-- name: event
INSERT INTO event (position, job, seq, type, at, data) VALUES (?, ?, ?, ?, ?, ?)
-- name: idempotency
INSERT INTO idempotency (tenant, key, fingerprint, job_id, submitted_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)
-- name: doc
INSERT INTO doc (kind, key, version, doc, lease_until) VALUES (?, ?, ?, ?, ?)
-- name: level
INSERT INTO level (queue, priority, at, starts) VALUES (?, ?, ?, ?)
-- name: lane
UPDATE line SET pass = ?5 WHERE queue = ?1 AND priority = ?2 AND tenant = ?3 AND key = ?4
-- name: pace
INSERT INTO pace (subject, due, at) VALUES (?, ?, ?)
-- name: counters
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence (name, seq) VALUES ('job', :jobs), ('event', :events)
-- name: clear
-- What an interrupted run had brought of that which may still have changed.
DELETE FROM event WHERE job IN (SELECT number FROM job WHERE finished_at IS NULL);
DELETE FROM job WHERE finished_at IS NULL;
DELETE FROM idempotency;
DELETE FROM doc WHERE kind <> 'moved';
DELETE FROM line;
DELETE FROM level;
DELETE FROM pace
-- name: forget
DELETE FROM event WHERE job IN (SELECT value FROM json_each(:numbers));
DELETE FROM job WHERE number IN (SELECT value FROM json_each(:numbers))
-- name: origin
SELECT doc ->> 'id' FROM doc WHERE kind = 'moved' AND key = 'from'
-- name: note
INSERT INTO doc (kind, key, version, doc, lease_until)
VALUES ('moved', 'from', 1, json_object('id', :id, 'from', :place), NULL)
