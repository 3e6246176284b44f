-- Jobs go with their history, and leave a tombstone each.
WITH old AS MATERIALIZED (
  SELECT number FROM outlast.job
  WHERE finished_at < :before AND (:ids::text[] IS NULL OR id = ANY (:ids))
  ORDER BY finished_at, number
  LIMIT :limit
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM outlast.job USING old WHERE job.number = old.number AND job.finished_at < :before
  RETURNING job.number, id, finished_at, tenant
), untold AS (
  DELETE FROM outlast.event USING gone WHERE event.job = gone.number
), left_behind AS (
  INSERT INTO outlast.doc (kind, key, version, doc, lease_until)
  SELECT 'tombstone', id, 1, jsonb_build_object('tenant', tenant)::text, outlast.instant(:now) + :ttl_us::bigint
  FROM gone
  ON CONFLICT (kind, key) DO UPDATE SET
    version = doc.version + 1, doc = excluded.doc, lease_until = excluded.lease_until
)
SELECT id FROM gone ORDER BY finished_at, number
