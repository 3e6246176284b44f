SELECT fingerprint, job_id, submitted_at FROM idempotency
WHERE tenant = :tenant AND key = :key AND expires_at > :now
