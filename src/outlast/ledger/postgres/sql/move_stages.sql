-- How a ledger is taken out of use, by its own triggers: they bind every process that is connected, of
-- whatever release, and cost nothing at any other time. Making one waits for the transactions that write.
-- name: copying
CREATE TABLE outlast.moving (id text NOT NULL, destination text NOT NULL, stage text NOT NULL);
-- Ended jobs that the copy may have, or miss, as they were before.
CREATE TABLE outlast.moving_job (number bigint PRIMARY KEY);
CREATE FUNCTION outlast.moving_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO outlast.moving_job VALUES (OLD.number) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE FUNCTION outlast.moving_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'OM001', MESSAGE = (SELECT destination FROM outlast.moving);
END $$;
CREATE TRIGGER moving_changes AFTER UPDATE ON outlast.job FOR EACH ROW
WHEN (OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL) EXECUTE FUNCTION outlast.moving_note();
CREATE TRIGGER moving_prunes AFTER DELETE ON outlast.job FOR EACH ROW EXECUTE FUNCTION outlast.moving_note();
-- name: draining
CREATE TRIGGER moving_starts BEFORE UPDATE ON outlast.job FOR EACH ROW
WHEN (NEW.status = 'processing' AND OLD.status <> 'processing') EXECUTE FUNCTION outlast.moving_refuse();
-- name: frozen
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.job
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.event
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.idempotency
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.doc
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.level
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.turn
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
CREATE TRIGGER moving_frozen BEFORE INSERT OR UPDATE OR DELETE ON outlast.pace
FOR EACH STATEMENT EXECUTE FUNCTION outlast.moving_refuse();
-- name: lifted
DROP FUNCTION outlast.moving_note() CASCADE;
DROP FUNCTION outlast.moving_refuse() CASCADE;
DROP TABLE outlast.moving_job;
-- name: moved
-- Nobody may read what is true no more.
ALTER TABLE outlast.job RENAME TO moved_job;
ALTER TABLE outlast.event RENAME TO moved_event;
ALTER TABLE outlast.idempotency RENAME TO moved_idempotency;
ALTER TABLE outlast.doc RENAME TO moved_doc;
ALTER TABLE outlast.level RENAME TO moved_level;
ALTER TABLE outlast.turn RENAME TO moved_turn;
ALTER TABLE outlast.pace RENAME TO moved_pace;
-- name: abandoned
DROP TABLE outlast.moving;
-- name: note
INSERT INTO outlast.moving (id, destination, stage) VALUES (:id, :destination, :stage)
-- name: stage
UPDATE outlast.moving SET stage = :stage WHERE id = :id
-- name: is_moving
SELECT to_regclass('outlast.moving') IS NOT NULL
-- name: mark
SELECT id, destination, stage FROM outlast.moving
-- name: hold
SELECT pg_try_advisory_lock(hashtextextended('outlast move', 0))
