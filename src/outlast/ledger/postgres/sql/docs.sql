SELECT kind, key, version, doc, lease_until FROM outlast.doc
WHERE kind = :kind AND (:key::text IS NULL OR key = :key) ORDER BY key
