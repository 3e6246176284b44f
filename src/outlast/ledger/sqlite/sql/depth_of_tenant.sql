-- Stops counting at the limit, as `depth.sql` does.
SELECT count(*) FROM (
  SELECT 1 FROM job WHERE tenant = :tenant AND tenant <> '' AND status IN ('pending', 'scheduled')
  LIMIT :limit)
