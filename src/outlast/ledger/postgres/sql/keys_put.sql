INSERT INTO outlast.idempotency (tenant, key, fingerprint, job_id, submitted_at, expires_at)
SELECT * FROM unnest(:tenants::text[], :keys::text[], :fingerprints::text[], :ids::text[],
                     :ats::bigint[], :ends::bigint[])
ON CONFLICT (tenant, key) DO UPDATE SET
  fingerprint = excluded.fingerprint, job_id = excluded.job_id,
  submitted_at = excluded.submitted_at, expires_at = excluded.expires_at
