DELETE FROM job WHERE id IN (SELECT value FROM json_each(:ids)) AND finished_at IS NOT NULL
RETURNING number, id, finished_at
