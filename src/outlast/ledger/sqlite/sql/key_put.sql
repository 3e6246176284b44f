INSERT INTO idempotency (tenant, key, fingerprint, job_id, submitted_at, expires_at)
VALUES (:tenant, :key, :fingerprint, :job_id, :submitted_at, :expires_at)
ON CONFLICT (tenant, key) DO UPDATE SET
  fingerprint = excluded.fingerprint, job_id = excluded.job_id,
  submitted_at = excluded.submitted_at, expires_at = excluded.expires_at
