DELETE FROM job WHERE number IN (
  SELECT number FROM job WHERE finished_at < :before ORDER BY finished_at, number LIMIT :limit)
RETURNING number, id, finished_at, tenant
