-- The supervisors whose lock nobody has.
SELECT key, doc::jsonb ->> 'holders', doc::jsonb -> 'server' = to_jsonb(pg_postmaster_start_time())
FROM outlast.doc CROSS JOIN LATERAL hashtextextended('outlast supervisor ' || key, 0) AS lock (id)
WHERE kind = 'supervisor' AND key <> :name AND NOT EXISTS (
  SELECT FROM pg_locks
  WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid = ((lock.id >> 32) & 4294967295)::oid AND objid = (lock.id & 4294967295)::oid)
