-- A ledger is made in a schema of another name, which nobody uses, and gets its own when it is whole.
-- name: is_there
SELECT to_regnamespace(:room) IS NOT NULL
-- name: session
SET LOCAL statement_timeout = 0;
SET LOCAL enable_seqscan = on;
SET LOCAL enable_hashjoin = on
-- name: aside
ALTER SCHEMA outlast RENAME TO outlast_moving
-- name: drop
DROP SCHEMA outlast_moving CASCADE
-- name: in_place
ALTER SCHEMA outlast_moving RENAME TO outlast
-- name: clear
-- What an interrupted run had brought of that which may still have changed.
DELETE FROM outlast.event WHERE job IN (SELECT number FROM outlast.job WHERE finished_at IS NULL);
DELETE FROM outlast.job WHERE finished_at IS NULL;
DELETE FROM outlast.doc WHERE kind <> 'moved';
TRUNCATE outlast.idempotency, outlast.level, outlast.turn, outlast.pace
-- name: forget
WITH events AS (DELETE FROM outlast.event WHERE job = ANY (:numbers::bigint[]))
DELETE FROM outlast.job WHERE number = ANY (:numbers::bigint[])
-- name: counters
SELECT setval(pg_get_serial_sequence('outlast.job', 'number'), greatest(:jobs::bigint, 1), :jobs > 0),
       setval(pg_get_serial_sequence('outlast.event', 'position'), greatest(:events::bigint, 1), :events > 0)
-- name: origin
SELECT doc::jsonb ->> 'id' FROM outlast.doc WHERE kind = 'moved' AND key = 'from'
-- name: note
INSERT INTO outlast.doc (kind, key, version, doc, lease_until)
VALUES ('moved', 'from', 1, jsonb_build_object('id', :id::text, 'from', :place::text)::text, NULL)
