-- A bound on the whole job, and how far a resumable one is.
ALTER TABLE job ADD COLUMN deadline_us INTEGER;
ALTER TABLE job ADD COLUMN deadline_at INTEGER;
ALTER TABLE job ADD COLUMN cursor TEXT;
CREATE INDEX job_deadline ON job (deadline_at) WHERE deadline_at IS NOT NULL;
