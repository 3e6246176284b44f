DELETE FROM job WHERE number IN (
  SELECT number FROM job WHERE id IN (SELECT value FROM json_each(:ids)) AND finished_at < :before
  ORDER BY finished_at, number LIMIT :limit)
RETURNING number, id, finished_at, tenant
