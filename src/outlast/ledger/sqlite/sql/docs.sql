SELECT kind, key, version, doc, lease_until FROM doc
WHERE kind = :kind AND (:key IS NULL OR key = :key) ORDER BY key
