-- The same for many at once, which keeps other threads from running once and not for each.
UPDATE job SET status = 'completed', seq = seq + 1, holder = NULL, finished_at = :now,
  result = coalesce(ended.result, job.result), error = NULL
FROM (SELECT value ->> 0 AS id, value ->> 1 AS token, value ->> 2 AS result FROM json_each(:batch)) AS ended
WHERE job.id = ended.id AND status = 'processing' AND job.token = ended.token
RETURNING number, seq, job.id
