-- name: any
INSERT INTO outlast.doc (kind, key, version, doc, lease_until)
VALUES (:kind, :key, 1, :doc, outlast.instant(:now) + :ttl_us::bigint)
ON CONFLICT (kind, key) DO UPDATE SET
  version = doc.version + 1, doc = excluded.doc, lease_until = coalesce(excluded.lease_until, doc.lease_until)
RETURNING version
-- name: new
INSERT INTO outlast.doc (kind, key, version, doc, lease_until)
VALUES (:kind, :key, 1, :doc, outlast.instant(:now) + :ttl_us::bigint)
ON CONFLICT (kind, key) DO NOTHING
RETURNING version
-- name: changed
UPDATE outlast.doc SET
  version = version + 1, doc = :doc, lease_until = coalesce(outlast.instant(:now) + :ttl_us::bigint, lease_until)
WHERE kind = :kind AND key = :key AND version = :version
RETURNING version
-- name: removed
DELETE FROM outlast.doc WHERE kind = :kind AND key = :key AND (:version::bigint IS NULL OR version = :version)
RETURNING version
