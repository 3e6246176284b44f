-- How a ledger is taken out of use, by its own triggers: they bind every process that has the file
-- open, of whatever release, and cost nothing at any other time.
-- name: copying
CREATE TABLE moving (id TEXT NOT NULL, destination TEXT NOT NULL, stage TEXT NOT NULL) STRICT;
-- Ended jobs that the copy may have, or miss, as they were before.
CREATE TABLE moving_job (number INTEGER PRIMARY KEY) STRICT;
CREATE TRIGGER moving_changes AFTER UPDATE ON job
WHEN OLD.finished_at IS NOT NULL OR NEW.finished_at IS NOT NULL BEGIN
  INSERT OR IGNORE INTO moving_job VALUES (NEW.number);
END;
CREATE TRIGGER moving_prunes AFTER DELETE ON job BEGIN
  INSERT OR IGNORE INTO moving_job VALUES (OLD.number);
END;
-- name: draining
CREATE TRIGGER moving_starts BEFORE UPDATE ON job
WHEN NEW.status = 'processing' AND OLD.status <> 'processing' BEGIN
  SELECT RAISE(ABORT, 'the ledger is being moved');
END;
-- name: frozen
CREATE TRIGGER moving_job_i BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_job_u BEFORE UPDATE ON job BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_job_d BEFORE DELETE ON job BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_event_i BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_event_d BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_key_i BEFORE INSERT ON idempotency BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_key_u BEFORE UPDATE ON idempotency BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_key_d BEFORE DELETE ON idempotency BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_doc_i BEFORE INSERT ON doc BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_doc_u BEFORE UPDATE ON doc BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_doc_d BEFORE DELETE ON doc BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_line_i BEFORE INSERT ON line BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_line_u BEFORE UPDATE ON line BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_line_d BEFORE DELETE ON line BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_level_i BEFORE INSERT ON level BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_level_u BEFORE UPDATE ON level BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_pace_i BEFORE INSERT ON pace BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_pace_u BEFORE UPDATE ON pace BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
CREATE TRIGGER moving_pace_d BEFORE DELETE ON pace BEGIN SELECT RAISE(ABORT, 'the ledger is being moved'); END;
-- name: lifted
DROP TRIGGER IF EXISTS moving_changes;
DROP TRIGGER IF EXISTS moving_prunes;
DROP TRIGGER IF EXISTS moving_starts;
DROP TRIGGER IF EXISTS moving_job_i;
DROP TRIGGER IF EXISTS moving_job_u;
DROP TRIGGER IF EXISTS moving_job_d;
DROP TRIGGER IF EXISTS moving_event_i;
DROP TRIGGER IF EXISTS moving_event_d;
DROP TRIGGER IF EXISTS moving_key_i;
DROP TRIGGER IF EXISTS moving_key_u;
DROP TRIGGER IF EXISTS moving_key_d;
DROP TRIGGER IF EXISTS moving_doc_i;
DROP TRIGGER IF EXISTS moving_doc_u;
DROP TRIGGER IF EXISTS moving_doc_d;
DROP TRIGGER IF EXISTS moving_line_i;
DROP TRIGGER IF EXISTS moving_line_u;
DROP TRIGGER IF EXISTS moving_line_d;
DROP TRIGGER IF EXISTS moving_level_i;
DROP TRIGGER IF EXISTS moving_level_u;
DROP TRIGGER IF EXISTS moving_pace_i;
DROP TRIGGER IF EXISTS moving_pace_u;
DROP TRIGGER IF EXISTS moving_pace_d;
DROP TABLE moving_job;
-- name: moved
-- Nobody may read what is true no more.
ALTER TABLE job RENAME TO moved_job;
ALTER TABLE event RENAME TO moved_event;
ALTER TABLE idempotency RENAME TO moved_idempotency;
ALTER TABLE doc RENAME TO moved_doc;
ALTER TABLE line RENAME TO moved_line;
ALTER TABLE level RENAME TO moved_level;
ALTER TABLE pace RENAME TO moved_pace;
-- name: abandoned
DROP TABLE moving;
-- name: note
INSERT INTO moving (id, destination, stage) VALUES (:id, :destination, :stage);
-- name: stage
UPDATE moving SET stage = :stage WHERE id = :id;
-- name: mark
SELECT id, destination, stage FROM moving;
