SELECT tenant, key, fingerprint, job_id, submitted_at FROM outlast.idempotency
JOIN unnest(:tenants::text[], :keys::text[]) AS asked (tenant, key) USING (tenant, key)
WHERE expires_at > :now
