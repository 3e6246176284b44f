-- In a user's own transaction: what it sees, and the wake-up that its commit sends.
-- name: look
SELECT current_setting('transaction_isolation'), to_regclass('outlast.job') IS NOT NULL,
  current_database()::text, oid::bigint, (SELECT system_identifier FROM pg_control_system()),
  pg_notify(:channel, '')::text
FROM pg_database WHERE datname = current_database()
-- name: identity
SELECT current_database()::text, oid::bigint, (SELECT system_identifier FROM pg_control_system())
FROM pg_database WHERE datname = current_database()
-- name: begin
BEGIN
-- name: commit
COMMIT
-- name: rollback
ROLLBACK
-- name: part
SAVEPOINT outlast
-- name: undo
ROLLBACK TO outlast
-- name: parted
RELEASE outlast
