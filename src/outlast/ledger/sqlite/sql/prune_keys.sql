DELETE FROM idempotency WHERE (tenant, key) IN (
  SELECT tenant, key FROM idempotency WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)
RETURNING 1
