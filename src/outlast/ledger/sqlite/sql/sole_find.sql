-- The newest job of an intention in one state: one probe of the index, however long its history.
SELECT number, id, status, submitted_at FROM job
WHERE sole_key = :key AND status = :status
ORDER BY number DESC LIMIT 1
