-- The same compare-and-set for the most frequent transition, touching only what it changes.
UPDATE job SET status = 'completed', seq = seq + 1, holder = NULL, finished_at = :now,
  result = coalesce(:result, result), error = NULL
WHERE id = :id AND status = 'processing' AND token = :token
RETURNING number, seq
