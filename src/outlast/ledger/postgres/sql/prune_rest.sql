-- What else has had its time: a due that has passed says no more than none.
WITH clock AS MATERIALIZED (SELECT outlast.instant(:now) AS now),
paces AS (
  DELETE FROM outlast.pace USING clock WHERE due <= now
), old_keys AS MATERIALIZED (
  SELECT tenant, key FROM outlast.idempotency, clock WHERE expires_at <= now
  ORDER BY expires_at LIMIT :limit FOR UPDATE OF idempotency SKIP LOCKED
), keys AS (
  DELETE FROM outlast.idempotency USING old_keys
  WHERE idempotency.tenant = old_keys.tenant AND idempotency.key = old_keys.key RETURNING 1
), old_docs AS MATERIALIZED (
  SELECT kind, key FROM outlast.doc, clock WHERE kind IN ('tombstone', 'upload') AND lease_until <= now
  ORDER BY lease_until, kind, key LIMIT :limit FOR UPDATE OF doc SKIP LOCKED
), docs AS (
  DELETE FROM outlast.doc USING old_docs
  WHERE doc.kind = old_docs.kind AND doc.key = old_docs.key RETURNING 1
)
SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM docs)
