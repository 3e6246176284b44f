-- Stops counting at the limit, so a full queue costs no more than its bound.
SELECT count(*) FROM (
  (SELECT FROM outlast.job WHERE status = 'pending' AND queue = :queue LIMIT :limit)
  UNION ALL
  (SELECT FROM outlast.job WHERE status = 'scheduled' AND queue = :queue LIMIT :limit)
  LIMIT :limit) AS waiting
