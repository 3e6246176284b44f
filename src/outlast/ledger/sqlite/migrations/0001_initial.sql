-- Jobs. `number` orders claims; AUTOINCREMENT, because a pruned number must never come back.
CREATE TABLE job (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  status TEXT NOT NULL,
  queue TEXT NOT NULL,
  priority INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  max_attempts INTEGER NOT NULL,
  token INTEGER NOT NULL DEFAULT 0,
  lost INTEGER NOT NULL DEFAULT 0,
  run INTEGER NOT NULL DEFAULT 1,
  seq INTEGER NOT NULL DEFAULT 1,
  holder TEXT,
  submitted_at INTEGER NOT NULL,
  run_at INTEGER NOT NULL,
  started_at INTEGER,
  finished_at INTEGER,
  expires_at INTEGER,
  cancel_requested_at INTEGER,
  timeout_us INTEGER,
  discarded INTEGER NOT NULL DEFAULT 0,
  tenant TEXT NOT NULL,
  task TEXT NOT NULL,
  concurrency_key TEXT,
  key TEXT,
  tags TEXT NOT NULL,
  notify TEXT NOT NULL,
  args TEXT NOT NULL,
  progress TEXT,
  result TEXT,
  error TEXT,
  artifacts TEXT NOT NULL DEFAULT '[]'
) STRICT;

-- The claim reads this index and nothing else; finished jobs are not in it, so history costs nothing.
CREATE INDEX job_claim ON job (queue, priority DESC, number) WHERE status = 'pending';
CREATE INDEX job_due ON job (run_at, queue) WHERE status = 'scheduled';
CREATE INDEX job_held ON job (holder) WHERE status = 'processing';
CREATE INDEX job_failed ON job (number) WHERE status = 'failed';
CREATE INDEX job_ended ON job (finished_at, number) WHERE finished_at IS NOT NULL;
CREATE INDEX job_expires ON job (expires_at) WHERE expires_at IS NOT NULL;

-- The history: appended in the transaction that changes the row, never updated.
CREATE TABLE event (
  position INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  type TEXT NOT NULL,
  at INTEGER NOT NULL,
  data TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_of_job ON event (job, seq);

CREATE TABLE idempotency (
  tenant TEXT NOT NULL,
  key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  job_id TEXT NOT NULL,
  submitted_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires_at);

-- Small versioned records: workers, queue settings, API keys, tombstones.
CREATE TABLE doc (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  doc TEXT NOT NULL,
  lease_until INTEGER,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
