-- Stops counting at the limit, so a full queue costs no more than its bound.
SELECT count(*) FROM (
  SELECT 1 FROM job WHERE status = 'pending' AND queue = :queue
  UNION ALL
  SELECT 1 FROM job WHERE status = 'scheduled' AND queue = :queue
  LIMIT :limit)
