-- With the server's start, because a lock does not outlive it.
INSERT INTO outlast.doc (kind, key, version, doc) VALUES ('supervisor', :name, 1, jsonb_build_object(
  'holders', :holders::jsonb, 'server', pg_postmaster_start_time())::text)
ON CONFLICT (kind, key) DO UPDATE SET version = doc.version + 1, doc = excluded.doc
