-- By its index: left to itself, SQLite would read all tombstones to sort them.
DELETE FROM doc WHERE (kind, key) IN (
  SELECT kind, key FROM doc INDEXED BY doc_passes
  WHERE kind IN ('tombstone', 'upload') AND lease_until <= :now ORDER BY lease_until LIMIT :limit)
RETURNING 1
