-- Which intention a job is the one job of.
ALTER TABLE job ADD COLUMN sole_key TEXT;
CREATE INDEX job_sole ON job (sole_key, status, number) WHERE sole_key IS NOT NULL;
