-- Tombstones and uploads go when their time is over.
CREATE INDEX doc_passes ON doc (lease_until) WHERE kind IN ('tombstone', 'upload');
UPDATE doc SET lease_until = (unixepoch() + 2592000) * 1000000 WHERE kind = 'tombstone';
