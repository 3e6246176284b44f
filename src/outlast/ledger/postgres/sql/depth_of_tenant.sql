-- Stops counting at the limit, as `depth.sql` does.
SELECT count(*) FROM (
  SELECT FROM outlast.job
  WHERE tenant = :tenant AND tenant <> '' AND status IN ('pending', 'scheduled') LIMIT :limit) AS waiting
