INSERT INTO doc (kind, key, version, doc, lease_until) VALUES (:kind, :key, 1, :doc, :lease_until)
ON CONFLICT (kind, key) DO UPDATE SET
  version = version + 1, doc = excluded.doc,
  lease_until = coalesce(excluded.lease_until, lease_until)
